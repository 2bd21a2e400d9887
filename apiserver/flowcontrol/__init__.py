"""API Priority and Fairness: whose request is served next when not all can be.

- ``queueset``: one level's seats and queues, fair queuing by virtual time (pure: the present is an
  argument, what is to happen is an answer)
- ``shares``: how many seats each level has, and lends (pure)
- ``matching``: FlowSchemas and PriorityLevelConfigurations read, requests matched (pure)
- ``control``: the shell: the objects of the cache, waiting requests, refusals
- ``dumps``: /debug/api_priority_and_fairness

While seats are free a request costs a look-up and a few additions, and a GET that is answered at
once never holds one. Source: apiserver pkg/util/flowcontrol, pkg/server/filters.
"""

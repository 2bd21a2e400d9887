"""CNI 1.1 plugins and the node agents behind them: bridge/host-local, flannel, the policy agent.

Called by kubelet at the CNI counter (``runtime.CniPlugins``); agents run as pods (``hosts``) and
command their own node only. Nothing is kept in memory that a node's kernel or disk should hold.
"""

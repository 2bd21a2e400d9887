"""HTTP routing as ingress-nginx decides it: which Ingress, which Service, which endpoints.

Pure: objects and a request in, a decision with its reason out. The ingress controller serves by
these decisions and ``podwire trace`` explains by them, so what is said is what is done. It knows
no packets and no sockets; the dataplane and netpol never call it, nor it them.

- ``options``: the annotations that are modelled
- ``table``: Ingresses, Services, EndpointSlices and Secrets -> servers with their locations
- ``route``: a request -> proxy, redirect or refusal

Source of the behaviour: kubernetes/ingress-nginx v1.15.1 (internal/ingress/controller, its Lua and
nginx template) and the Ingress reference of Kubernetes.
"""

"""ValidatingAdmissionPolicy and MutatingAdmissionPolicy: rules in CEL that the cluster's owners
write.

``definitions`` compiles policies once per version and finds those that a write concerns,
``validating`` and ``mutating`` are the plugins, ``params`` finds what bindings refer to.
Source: apiserver pkg/admission/plugin/policy.
"""

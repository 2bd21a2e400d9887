"""Root CA publisher: ConfigMap ``kube-root-ca.crt`` in every active namespace."""

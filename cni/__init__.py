"""CNI 1.1 plugins and the node agents behind them: bridge, host-local, flannel, the policy agent.

Called by kubelet at the CNI counter; agents run as pods and command their own node only.
"""

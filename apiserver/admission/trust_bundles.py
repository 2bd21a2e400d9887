"""ClusterTrustBundleAttest: who writes a signer's trust bundle must be allowed to speak for it.

ClusterTrustBundles are not served (a beta API, off by default), so there is nothing it could see;
its name can be given. Source: upstream plugin/pkg/admission/certificates/ctbattest.
"""

from __future__ import annotations

from podwire.apiserver.admission.chain import Plugin

PLUGIN = Plugin("ClusterTrustBundleAttest", kinds=())

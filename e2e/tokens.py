"""ServiceAccount tokens bound to a pod, as a kubelet asks for them."""

from e2e.api import Api, Object

LIFETIME = 24 * 3600  # seconds; nothing here runs longer, and nobody renews them


def bound_token(api: Api, pod: Object) -> str:
    """A token for the pod's ServiceAccount that says which pod and, once the pod has one, which node it belongs to."""
    metadata = pod["metadata"]
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": pod["spec"].get("serviceAccountName", "default"), "namespace": metadata["namespace"]},
    }
    bound = {"kind": "Pod", "apiVersion": "v1", "name": metadata["name"], "uid": metadata["uid"]}
    request = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"audiences": [], "expirationSeconds": LIFETIME, "boundObjectRef": bound},
    }
    return str(api.post(account, "token", request)["status"]["token"])

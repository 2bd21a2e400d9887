"""Versions that a webhook makes of each other. The webhook is a function here."""

from __future__ import annotations

import base64

import msgspec

from podwire.apiserver.certs import Authority
from podwire.apiserver.webhookclient import CallError
from tests.samples_crd import definition

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
ONE = "/apis/example.com/v1/namespaces/default/widgets"
TWO = "/apis/example.com/v2/namespaces/default/widgets"
MERGE = "application/merge-patch+json"


def versions(storage):
    """v1 says ``spec.size``, v2 says the same as text: ``spec.dimension``."""
    body = definition()
    (first,) = body["spec"]["versions"]
    first |= {"storage": storage == "v1"}
    second = definition(selectableFields=[], additionalPrinterColumns=[])["spec"]["versions"][0]
    schema = {"type": "object", "properties": {"dimension": {"type": "string"}}}
    whole = {"type": "object", "properties": {"spec": schema, "status": {"type": "object"}}}
    second |= {"name": "v2", "storage": storage == "v2", "subresources": {"status": {}}}
    second["schema"] = {"openAPIV3Schema": whole}
    body["spec"]["versions"] = [first, second]
    client = {"url": "https://hooks.example.com/convert"}
    webhook = {"clientConfig": client, "conversionReviewVersions": ["v1"]}
    body["spec"]["conversion"] = {"strategy": "Webhook", "webhook": webhook}
    return body


class Converter:
    """Stands for the network and the webhook behind it."""

    def __init__(self, w):
        self.asked = []
        self.broken = None
        w.server.webhooks.client = self

    async def post(self, target, body, timeout_s):
        if self.broken == "away":
            raise CallError(f'Post "{target.url}": EOF')
        request = msgspec.json.decode(body)["request"]
        self.asked.append(len(request["objects"]))
        made = [self.convert(obj, request["desiredAPIVersion"]) for obj in request["objects"]]
        result = {"status": "Success"}
        if self.broken == "refusing":
            result = {"status": "Failure", "message": "not today"}
        elif self.broken == "renaming":
            made[0]["metadata"]["name"] = "other"
        response = {"uid": request["uid"], "result": result, "convertedObjects": made}
        return msgspec.json.encode({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview",
            "response": response,
        })  # fmt: skip

    @staticmethod
    def convert(obj, api_version):
        spec = obj["spec"]
        if api_version.endswith("v2"):
            spec = {"dimension": str(spec["size"])}
        else:
            spec = {"size": int(spec["dimension"])}
        return {**obj, "apiVersion": api_version, "spec": spec}

    def close(self):
        pass


async def install(w, storage="v1"):
    made = await w.raw("POST", CRDS, versions(storage))
    assert made.status == 201, made.body
    await w.env.clock.sleep(0.1)
    return Converter(w)


def one(name="w", size=3):
    return {"metadata": {"name": name}, "spec": {"size": size}}


def test_each_version_reads_and_writes_what_the_other_stored(simulate):
    """Get, list, create, patch, apply, delete through a version that is not stored."""

    async def story(w):
        await install(w)
        await w.raw("POST", ONE, one())
        assert (await w.json("GET", f"{TWO}/w"))["spec"] == {"dimension": "3"}
        two = {"metadata": {"name": "x"}, "spec": {"dimension": "5"}}
        made = await w.json("POST", TWO, two)
        assert (made["apiVersion"], made["spec"]) == ("example.com/v2", {"dimension": "5"})
        assert (await w.json("GET", f"{ONE}/x"))["spec"]["size"] == 5
        patch = {"spec": {"dimension": "7"}}
        patched = await w.json("PATCH", f"{TWO}/x", patch, content_type=MERGE)
        assert patched["spec"] == patch["spec"]
        assert (await w.json("GET", f"{ONE}/x"))["spec"]["size"] == 7
        applied = {"apiVersion": "example.com/v2", "kind": "Widget", **two}
        told = await w.json(
            "PATCH", f"{TWO}/x", applied, content_type="application/apply-patch+yaml",
            fieldManager="me", force="true",
        )  # fmt: skip
        assert told["spec"] == {"dimension": "5"}
        listed = await w.json("GET", TWO)
        assert [item["spec"]["dimension"] for item in listed["items"]] == ["3", "5"]
        assert (await w.raw("DELETE", f"{TWO}/x")).status == 200
        assert (await w.raw("GET", f"{ONE}/x")).status == 404

    simulate(story)


def test_a_list_is_converted_in_one_question(simulate):
    """And asked no more about what did not change."""

    async def story(w):
        webhook = await install(w)
        for number in range(5):
            await w.raw("POST", ONE, one(f"w{number}"))
        await w.json("GET", TWO)
        await w.json("GET", TWO)
        assert webhook.asked == [5]
        await w.raw("PATCH", f"{ONE}/w1", {"spec": {"size": 4}}, content_type=MERGE)
        assert (await w.json("GET", f"{TWO}/w1"))["spec"] == {"dimension": "4"}
        assert webhook.asked == [5, 1]

    simulate(story)


def test_a_watch_of_a_converted_version_goes_on(simulate):
    """Events of writes in the stored version are shown in the other."""

    async def story(w):
        await install(w)
        stream = (await w.raw("GET", TWO, watch="true", resourceVersion="0")).stream
        await w.raw("POST", ONE, one())
        event = msgspec.json.decode((await anext(stream)).data)
        assert (event["type"], event["object"]["spec"]) == ("ADDED", {"dimension": "3"})
        await w.raw("DELETE", f"{ONE}/w")
        event = msgspec.json.decode((await anext(stream)).data)
        assert (event["type"], event["object"]["apiVersion"]) == ("DELETED", "example.com/v2")

    simulate(story)


def test_what_was_stored_before_is_converted_to_the_new_storage_version(simulate):
    """The storage version changes; old bytes are shown in it until somebody writes them."""

    async def story(w):
        await install(w)
        await w.raw("POST", ONE, one())
        crd = await w.json("GET", f"{CRDS}/widgets.example.com")
        crd["spec"]["versions"] = versions("v2")["spec"]["versions"]
        assert (await w.raw("PUT", f"{CRDS}/widgets.example.com", crd)).status == 200
        found = await w.json("GET", f"{TWO}/w")
        assert found["spec"] == {"dimension": "3"}
        assert (await w.json("GET", f"{ONE}/w"))["spec"]["size"] == 3
        assert (await w.raw("PUT", f"{TWO}/w", found)).status == 200
        page = await w.store.range("/registry/widgets.example.com/")
        assert page.kvs[0].value.startswith(b'{"apiVersion":"example.com/v2"')

    simulate(story)


def test_a_failing_webhook_is_told_in_upstreams_words(simulate):
    """Reads through it are refused; the stored version goes on."""

    async def story(w):
        webhook = await install(w)
        await w.raw("POST", ONE, one())
        about = "conversion webhook for example.com/v1, Kind=Widget"
        wanted = {
            "away": f'{about} failed: Post "https://hooks.example.com/convert": EOF',
            "refusing": f"{about} failed: not today",
            "renaming": f"{about} returned invalid object at index 0: must have the same name: "
            "w != other",
        }
        for webhook.broken, message in wanted.items():
            answer = await w.json("GET", f"{TWO}/w")
            assert (answer["code"], answer["message"]) == (500, message)
        assert (await w.raw("GET", f"{ONE}/w")).status == 200
        webhook.broken = None
        assert (await w.raw("GET", f"{TWO}/w")).status == 200

    simulate(story)


def test_a_definition_without_a_usable_authority_is_not_established(simulate):
    """Upstream's reason (kubebuilder's placeholder Cg== meets it), so discovery does not tell of
    it; once it is, it keeps one. PEM of something else counts as little as no PEM.
    """

    async def story(w):
        good = Authority(w.env.secret, w.env.clock.now_ns()).pem
        other = good.replace(b"CERTIFICATE", b"PUBLIC KEY")
        path = f"{CRDS}/widgets.example.com"

        async def put(data):
            bundle = base64.b64encode(data).decode()
            change = {"spec": {"conversion": {"webhook": {"clientConfig": {"caBundle": bundle}}}}}
            return await w.raw("PATCH", path, change, "application/merge-patch+json")

        async def established():
            await w.env.clock.sleep(0.1)
            conditions = (await w.json("GET", path))["status"]["conditions"]
            (found,) = [c for c in conditions if c["type"] == "Established"]
            return found["status"], found["reason"]

        obj = versions("v1")
        obj["spec"]["conversion"]["webhook"]["clientConfig"]["caBundle"] = "Cg=="
        assert (await w.raw("POST", CRDS, obj)).status == 201
        assert await established() == ("False", "InvalidCABundle")
        assert (await put(other)).status == 200
        assert await established() == ("False", "InvalidCABundle")
        assert (await put(other + good)).status == 200
        assert await established() == ("True", "InitialNamesAccepted")
        for data, why in (
            (b"\n", "unable to parse bytes as PEM block"),
            (other, "no valid certificate authority data seen"),
            (good.replace(good[60:90], b"A" * 30), "failed to parse certificate"),
        ):
            refused = await put(data)
            assert refused.status == 422, refused.body
            assert b"spec.conversion.webhookClientConfig.caBundle: Invalid value" in refused.body
            assert why.encode() in refused.body

    simulate(story)

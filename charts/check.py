"""Lints the chart, renders many sets of values and validates the output against the Kubernetes schemas. Checks which values
are refused, that each value has an effect, and that deploy/herald.yaml and the custom resource definitions are up to date."""

import copy
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import helm_python as helm
import kubernetes_validate
import yaml

REPOSITORY = Path(__file__).parent.parent
# A copy without symbolic links: Helm logs each link at each render.
COPY = tempfile.TemporaryDirectory()
CHART = shutil.copytree(REPOSITORY / "charts" / "herald", Path(COPY.name) / "herald")
KUBERNETES = "1.37"
MANIFEST = REPOSITORY / "deploy" / "herald.yaml"
# The values of MetalLB's chart, charts/metallb/values.yaml of github.com/metallb/metallb at 7938d3f89, without comments.
METALLB_VALUES = REPOSITORY / "charts" / "metallb-values.yaml"
MANIFEST_HEADER = """# Herald without Helm: kubectl apply -f deploy/herald.yaml
# Generated from charts/herald by charts/check --write.
"""
# Kinds that are not in the Kubernetes schemas.
FOREIGN = {"PodMonitor", "ServiceMonitor", "PrometheusRule"}

def merged(base, other):
    result = copy.deepcopy(base)
    for key, value in other.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result


VALUES = yaml.safe_load((CHART / "values.yaml").read_text())

EVERYTHING = {
    "loadBalancerClass": "herald.io/class",
    "tls": {"minVersion": "VersionTLS12", "cipherSuites": "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"},
    "imagePullSecrets": [{"name": "pull"}],
    "prometheus": {
        "scrapeAnnotations": True,
        "podMonitor": {"enabled": True},
        "serviceAccount": "prometheus",
        "namespace": "monitoring",
        "prometheusRule": {"enabled": True, "poolFilling": {"excludePools": r"dmz\..*"}},
    },
    "networkpolicies": {"enabled": True, "defaultDeny": True},
    "grafana": {"dashboards": {"enabled": True}},
    "controller": {"image": {"tag": "v1"}},
    "speaker": {"image": {"tag": "v1"}},
}

# Instead of the PodMonitor.
MONITORED = {"podMonitor": {"enabled": False}, "serviceMonitor": {"enabled": True}, "serviceAccount": "prometheus", "namespace": "monitoring"}

# Beside MetalLB, whose ports, definitions and Secret stay its own.
BESIDE = {
    "migration": {"besideMetalLB": True},
    "crds": {"enabled": False},
    "prometheus": {"metricsPort": 9130},
    "speaker": {"memberlist": {"mlBindPort": 7956}, "livenessProbe": {"port": 17482}},
}

SETS = {
    "beside MetalLB": BESIDE,
    # The last step of docs/install/migrate.md: MetalLB is gone, and its definitions become Herald's.
    "after MetalLB": {**BESIDE, "crds": {"enabled": True}},
    "defaults": {},
    "everything": EVERYTHING,
    "no gossip": {"speaker": {"memberlist": {"enabled": False}}},
    "nothing excluded": {"speaker": {"excludeInterfaces": {"enabled": False}}},
    "neither volume": {"speaker": {"memberlist": {"enabled": False}, "excludeInterfaces": {"enabled": False}}},
    "own secret": {"speaker": {"secretName": "mine"}},
    "own accounts": {
        "controller": {"serviceAccount": {"create": False, "name": "a"}},
        "speaker": {"serviceAccount": {"create": False, "name": "b"}},
    },
    "no rbac, no definitions": {"rbac": {"create": False}, "crds": {"enabled": False}},
    "controller alone": {"speaker": {"enabled": False}},
    "speaker alone": {"controller": {"enabled": False}, "speaker": {"secretName": "mine"}},
    "one controller": {"controller": {"replicas": 1}},
    "no webhook": {"controller": {"webhookMode": "disabled"}, "networkpolicies": {"enabled": True}},
    "only the webhook": {"controller": {"webhookMode": "onlywebhook"}, "speaker": {"enabled": False}},
    "no webhook, no gossip": {"controller": {"webhookMode": "disabled"}, "speaker": {"memberlist": {"enabled": False}}},
    "no metrics": {"prometheus": {"metricsPort": 0}},
    "plain metrics": {"prometheus": {"plainHTTP": True, "metricsBindAddress": "127.0.0.1", "podMonitor": {"enabled": True}, "rbacPrometheus": False}},
    "service monitors": {"prometheus": MONITORED},
    "no probes": {
        "controller": {"livenessProbe": {"enabled": False}, "readinessProbe": {"enabled": False}},
        "speaker": {"livenessProbe": {"enabled": False}, "readinessProbe": {"enabled": False}},
    },
    "network policies": {"networkpolicies": {"enabled": True}, "prometheus": {"metricsPort": 0}},
    "IPv6": {"speaker": {"memberlist": {"mlBindAddrOverride": "fc00::1"}}},
    "long names": {**merged(EVERYTHING, {"prometheus": MONITORED}), "fullnameOverride": "x" * 80, "nameOverride": "y" * 80},
    "placed": {
        "controller": {"nodeSelector": {"a": "b"}, "tolerations": [{"operator": "Exists"}], "resources": {"limits": {"cpu": "1"}}},
        "speaker": {"tolerateMaster": False, "tolerations": [{"operator": "Exists"}], "priorityClassName": "mine"},
    },
    "no BGP": {"speaker": {"bgp": {"enabled": False}}},
    # A values file of MetalLB's chart for BGP.
    "MetalLB's BGP": {
        "frrk8s": {"enabled": True, "external": False, "namespace": "", "secretPassthrough": False},
        "frr-k8s": {"frr": {"image": {"tag": "10"}}},
        "speaker": {"frr": {"enabled": True, "metricsPort": 9121}, "bgpDebounceTimeout": 500, "reloader": {"resources": {}}},
        "prometheus": {"prometheusRule": {"bgpSessionDown": {"enabled": True, "labels": {"severity": "critical"}}}},
    },
    # A values file of MetalLB's chart for layer 2 alone.
    "MetalLB's layer 2": {
        "frrk8s": {"enabled": False, "external": False},
        "crds": {"enabled": True, "validationFailurePolicy": "Fail"},
        "controller": {"webhookMode": "disabled", "logLevel": "warn"},
        "speaker": {"frr": {"enabled": False}, "logLevel": "warn", "tolerateMaster": True},
    },
}

# Values that are refused, and a word of the message.
REFUSED = [
    ({"configInline": {"address-pools": []}}, "IPAddressPool"),
    ({"speaker": {"bgp": {"med": "none"}}}, "med"),
    ({"speaker": {"bgp": {"med": 4294967296}}}, "med"),
    ({"speaker": {"bgp": {"enable": True}}}, "enable"),
    ({"controller": {"webhookMode": "only"}}, "webhookMode"),
    ({"controller": {"webhookMode": "onlywebhook"}}, "speaker.secretName"),
    ({"crds": {"validationFailurePolicy": "ignore"}}, "validationFailurePolicy"),
    ({"controller": {"image": {"repository": "quay.io/metallb/controller", "tag": "v0.15.2"}}}, "MetalLB's image"),
    ({"speaker": {"image": {"repository": "quay.io/metallb/speaker"}}}, "MetalLB's image"),
    ({"controller": {"image": {"repository": None}}}, "missing property 'repository'"),
    ({"speaker": {"image": {"repository": "docker.io/bitnami/metallb-speaker"}}}, "MetalLB's image"),
    ({"speaker": {"image": {"repository": "mirror.example:5000/quay.io/metallb/speaker"}}}, "MetalLB's image"),
    ({"controller": {"enabled": False}}, "speaker.secretName"),
    ({"tls": {"minVersion": "VersionTLS11"}}, "minVersion"),
    ({"tls": {"cipherSuites": "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"}}, "VersionTLS12"),
    ({"prometheus": {"serviceMonitor": {"enabled": True}}}, "prometheus.serviceAccount"),
    ({"prometheus": {"podMonitor": {"enabled": True}, "serviceAccount": "prometheus"}}, "prometheus.namespace"),
    ({"prometheus": {"podMonitor": {"enabled": True}, "serviceMonitor": {"enabled": True}}}, "both monitors"),
    ({"prometheus": {"podMonitor": {"enabled": True}, "rbacPrometheus": False, "metricsPort": 0}}, "metricsPort"),
    ({"prometheus": {"metricsBindAddress": "eth0"}}, "metricsBindAddress"),
    ({"networkpolicies": {"apiPort": 0}}, "apiPort"),
    ({"speaker": {"memberlist": {"enabled": False}, "nodeSelector": {"a": "b"}}}, "without gossip"),
    ({"speaker": {"memberlist": {"enabled": False}, "affinity": {"nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "lb", "operator": "Exists"}]}]}}}}}, "with speaker.affinity: without gossip"),
    ({"speaker": {"memberlist": {"enabled": False}, "tolerateMaster": False}}, "with speaker.tolerateMaster=false: without gossip"),
    ({"speaker": {"logLevel": "loud"}}, "logLevel"),
    ({"speaker": {"memberlist": {"mlBindPort": 70000}}}, "mlBindPort"),
    ({"speaker": {"memberlist": {"mlSecretKeyPath": "key"}}}, "mlSecretKeyPath"),
    ({"speaker": {"excludeInterface": {}}}, "excludeInterface"),
    ({"controller": {"replicas": -1}}, "replicas"),
    ({"loadbalancerClass": "x"}, "loadbalancerClass"),
    ({**BESIDE, "prometheus": {}}, "prometheus.metricsPort"),
    ({**BESIDE, "speaker": {"livenessProbe": {"port": 17482}}}, "mlBindPort"),
    ({**BESIDE, "speaker": {"memberlist": {"mlBindPort": 7956}}}, "livenessProbe.port"),
    ({**BESIDE, "speaker": {**BESIDE["speaker"], "secretName": "metallb-memberlist"}}, "speaker.secretName"),
    ({**BESIDE, "nameOverride": "metallb"}, "nameOverride"),
    ({**BESIDE, "speaker": {**BESIDE["speaker"], "takeoverVerification": False}}, "speaker.takeoverVerification"),
    ({**BESIDE, "speaker": {**BESIDE["speaker"], "memberlist": {"enabled": False}}}, "speaker.memberlist.enabled"),
]

# Another value, where it cannot be the opposite, one more, or another text.
OTHER = {
    "validationFailurePolicy": "Fail",
    "webhookMode": "disabled",
    "minVersion": "VersionTLS13",
    "metricsBindAddress": "127.0.0.1",
    "logLevel": "debug",
    "pullPolicy": "Always",
    "interval": "30s",
    "type": "OnDelete",
    "mlSecretKeyPath": "/other",
    "tolerations": [{"operator": "Exists"}],
    "extraContainers": [{"name": "x", "image": "y"}],
    "imagePullSecrets": [{"name": "other"}],
    "thresholds": [{"percent": 1, "labels": {}}],
    "extraAlerts": [{"alert": "X", "expr": "1"}],
    "metricRelabelings": [{"action": "drop"}],
    "relabelings": [{"action": "drop"}],
    "announcedInterfacesToExclude": ["^x$"],
}


def render(values, name="release"):
    chart = helm.Chart.load(CHART)
    chart.validate_schema(values)
    return chart.render(values, name=name, namespace="metallb-system")


def documents(values, **options):
    rendered = render(values, **options)
    files = (text for name, text in sorted(rendered.items()) if name.endswith(".yaml"))
    return [document for text in files for document in yaml.safe_load_all(text) if document]


def is_test(document):
    """Whether only `helm test` creates the object."""
    return document["metadata"].get("annotations", {}).get("helm.sh/hook") == "test"


def leaves(values, path=()):
    for key, value in values.items():
        if isinstance(value, dict) and value and key != "labels" and key != "securityContext":
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key), value


def another(key, value):
    if key in OTHER:
        return OTHER[key]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, dict):
        return {"other": "value"}
    return "other"


def nested(path, value):
    return {path[0]: nested(path[1:], value)} if path else value


def check_lint():
    result = helm.lint(CHART, VALUES, strict=True, quiet=True)
    # Severity 1 is information: the chart has no icon.
    assert not result["errors"], result["errors"]
    assert all(message["severity"] <= 1 for message in result["messages"]), result["messages"]


def check_renders():
    for name, values in SETS.items():
        for document in documents(values):
            if document["kind"] not in FOREIGN:
                try:
                    kubernetes_validate.validate(document, KUBERNETES, strict=True)
                except kubernetes_validate.ValidationError as error:
                    raise AssertionError(f"{name}: {document['kind']}: {error.message}") from error
            check_names(name, document)


def check_names(where, document):
    """What the schemas leave out: names and labels that the API server refuses."""
    kind, metadata = document["kind"], document["metadata"]
    is_role = kind.startswith(("ClusterRole", "Role"))
    pattern = r"[a-z0-9.:-]+" if is_role else r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*"
    longest = 63 if kind in ("Service", "Namespace") else 253
    assert re.fullmatch(pattern, metadata["name"]) and len(metadata["name"]) <= longest, f"{where}: {kind}: {metadata['name']}"
    pod = document["spec"]["template"]["metadata"] if kind in ("Deployment", "DaemonSet") else {}
    for value in (*metadata.get("labels", {}).values(), *pod.get("labels", {}).values()):
        assert re.fullmatch(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?", value), f"{where}: {kind}: label {value}"


def check_stable():
    """For GitOps: nothing depends on the moment or on the cluster, and no secret is rendered."""
    for values in SETS.values():
        first = documents(values)
        assert first == documents(values)
        # Kubernetes fills in the token of a ServiceAccount.
        secrets = [document for document in first if document["kind"] == "Secret"]
        assert not any(secret.get("data") or secret.get("stringData") for secret in secrets)
    for template in (CHART / "templates").iterdir():
        words = set(re.findall(r"\w+", template.read_text()))
        unstable = words & {"lookup", "randAlphaNum", "randAlpha", "randNumeric", "randBytes", "genCA", "uuidv4", "now"}
        assert not unstable, f"{template.name}: {unstable}"


def manifest():
    """The chart with its defaults as one file for `kubectl apply -f`, without what only Helm reads."""
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": "metallb-system",
            "labels": {f"pod-security.kubernetes.io/{mode}": "privileged" for mode in ("enforce", "audit", "warn")},
        },
    }
    found = [document for document in documents({}, name="herald") if not is_test(document)]
    order = ["CustomResourceDefinition", "ServiceAccount", "ConfigMap", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"]
    found.sort(key=lambda document: order.index(document["kind"]) if document["kind"] in order else len(order))
    for document in found:
        metadata = document["metadata"]
        del metadata["labels"]["helm.sh/chart"], metadata["labels"]["app.kubernetes.io/managed-by"]
        metadata.get("annotations", {}).pop("helm.sh/resource-policy", None)
        if not metadata.get("annotations", True):
            del metadata["annotations"]
    return MANIFEST_HEADER + yaml.safe_dump_all([namespace, *found], sort_keys=False, width=120)


def check_manifest():
    text = manifest()
    assert "kind: Secret" not in text and "helm" not in text.removeprefix(MANIFEST_HEADER).lower()
    if "--write" in sys.argv:
        MANIFEST.write_text(text)
    assert MANIFEST.read_text() == text, f"{MANIFEST} is out of date: run charts/check --write"


def check_refusals():
    for values, word in REFUSED:
        try:
            render(values)
        except helm.HelmError as error:
            assert word in str(error), f"{values}: {error}"
        else:
            raise AssertionError(f"not refused: {values}")


def check_metallb():
    """Of the values of MetalLB's own chart, each refusal is a sentence; without what it names, the chart renders."""
    values = yaml.safe_load(METALLB_VALUES.read_text())
    refused = [
        ("controller.image", {"controller": {"image": {"repository": "registry.example/herald"}}}, "controller.image.repository: quay.io/metallb/controller is MetalLB's image"),
        ("speaker.image", {"speaker": {"image": {"repository": "registry.example/herald"}}}, "speaker.image.repository: quay.io/metallb/speaker is MetalLB's image"),
    ]
    for what, without, sentence in refused:
        try:
            render(values)
        except helm.HelmError as error:
            assert sentence in str(error), f"{what}: {error}"
        else:
            raise AssertionError(f"not refused: {what}")
        values = merged(values, without)
    kinds = {document["kind"] for document in documents(values)}
    assert {"Deployment", "DaemonSet", "CustomResourceDefinition"} <= kinds, kinds


def check_omissions():
    """What would refuse, or alarm about, an installation that works as its values say is left out."""
    def kinds(values):
        return {document["kind"] for document in documents(values)}

    policy = "ValidatingAdmissionPolicy"
    account = {"serviceAccount": {"create": False}}
    assert policy in kinds({}), f"no {policy}"
    assert policy not in kinds({"controller": account, "speaker": account}), f"the {policy} concerns the controller, which has the speaker's ServiceAccount"

    def alerts(values):
        rule = next(d for d in documents(merged(EVERYTHING, values)) if d["kind"] == "PrometheusRule")
        return {alert["alert"] for group in rule["spec"]["groups"] for alert in group["rules"]}

    leaderless = "HeraldNoActiveController"
    assert leaderless in alerts({}), f"no {leaderless}"
    reviewing = {"controller": {"webhookMode": "onlywebhook"}, "speaker": {"enabled": False}}
    assert leaderless not in alerts(reviewing), f"{leaderless} of a release whose controller only reviews"


def check_bgp():
    """The speaker gets what its values say of BGP, and reads Secrets only for BGP."""
    def speaker(values):
        found = documents(values)
        daemons = next(d for d in found if d["kind"] == "DaemonSet")["spec"]["template"]["spec"]["containers"]
        role = next(d for d in found if d["kind"] == "Role" and d["metadata"]["name"].endswith("-speaker"))
        readable = {resource for rule in role["rules"] for resource in rule["resources"] if "list" in rule["verbs"]}
        return [argument for argument in daemons[0]["args"] if argument.startswith("--bgp")], readable

    with_bgp = {"bgppeers", "bgpadvertisements", "communities", "bfdprofiles", "servicebgpstatuses", "bgpsessionstates", "secrets"}
    for values, flags, reads in (
        ({}, [], True),
        (SETS["no BGP"], ["--bgp=false"], False),
        ({"speaker": {"bgp": {"med": 4294967295}}}, ["--bgp-med=4294967295"], True),
        ({"speaker": {"bgp": {"med": 0}}}, ["--bgp-med=0"], True),
        ({"speaker": {"bgp": {"med": "absent"}}}, ["--bgp-med=absent"], True),
        (BESIDE, ["--bgp-med=absent"], True),
        (SETS["MetalLB's BGP"], [], True),
    ):
        found, readable = speaker(values)
        assert found == flags, f"{values}: {found}"
        assert readable & with_bgp == (with_bgp if reads else set()), f"{values}: {readable}"
    for values, flags in (({}, []), (SETS["no BGP"], ["--bgp=false"])):
        containers = next(d for d in documents(values) if d["kind"] == "Deployment")["spec"]["template"]["spec"]["containers"]
        found = [argument for argument in containers[0]["args"] if argument.startswith("--bgp")]
        assert found == flags, f"the controller of {values}: {found}"
    for values, is_told in (({}, False), (SETS["MetalLB's BGP"], True), ({"frrk8s": {"external": True}}, True), (SETS["MetalLB's layer 2"], False)):
        notes = next(text for name, text in render(values).items() if name.endswith("NOTES.txt"))
        assert ("The speaker itself speaks BGP" in notes) == is_told, f"{values}: {notes}"


def check_alerts():
    """The rules are sound, each fires and stays silent in a test, and each has a heading in docs/alerts.md."""
    rule = next(d for d in documents(EVERYTHING) if d["kind"] == "PrometheusRule")["spec"]
    rules = [alert for group in rule["groups"] for alert in group["rules"]]
    tests = REPOSITORY / "charts" / "alerts_test.yaml"
    with tempfile.TemporaryDirectory() as directory:
        whole, bare = Path(directory) / "whole.yaml", Path(directory) / "rules.yaml"
        whole.write_text(yaml.safe_dump(rule))
        run("promtool", "check", "rules", whole)
        for alert in rules:
            known_metrics(alert["alert"], alert["expr"])
            annotations = alert.pop("annotations")
            heading = annotations["runbook_url"].split("#")[1]
            assert heading in headings(REPOSITORY / "docs" / "alerts.md"), f"docs/alerts.md has no heading {heading}"
        bare.write_text(yaml.safe_dump(rule))
        shutil.copy(tests, directory)
        run("promtool", "test", "rules", Path(directory) / tests.name)
    outcomes = {
        (test["alertname"], bool(test["exp_alerts"]))
        for group in yaml.safe_load(tests.read_text())["tests"]
        for test in group["alert_rule_test"]
    }
    untested = {(alert["alert"], fires) for alert in rules for fires in (True, False)} - outcomes
    assert not untested, f"not tested: {untested}"


def check_dashboards():
    """The queries of all panels can be parsed, and name metrics that the programs have."""
    rules = []
    for file in sorted((CHART / "files" / "dashboards").glob("*.json")):
        panels = json.loads(file.read_text())["panels"]
        queries = [target["expr"] for panel in panels for target in panel["targets"]]
        assert queries and all(panel["targets"] for panel in panels)
        for query in queries:
            known_metrics(file.name, query)
            rule = query.replace("$__rate_interval", "5m").replace("$instance", ".*")
            assert "$" not in rule, f"{file.name}: {query}"
            rules.append({"record": f"query_{len(rules)}", "expr": rule})
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "queries.yaml"
        path.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
        run("promtool", "check", "rules", path)


def known_metrics(place, query):
    """The programs have each metric that a query names."""
    reference = (REPOSITORY / "docs" / "reference" / "metrics.md").read_text()
    for metric in re.findall(r"\b(?:herald|metallb|leader_election)_\w+", query):
        name = re.sub(r"_(bucket|count|sum)$", "", metric)
        assert f"`{name}`" in reference, f"{place}: no program has {metric}"


def headings(document):
    return {line.lstrip("# ").lower() for line in document.read_text().splitlines() if line.startswith("#")}


def run(*command):
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def check_values_matter():
    base = merged(VALUES, EVERYTHING)

    def dead(base):
        before = documents(base)
        for path, value in leaves(base):
            try:
                if documents(merged(base, nested(path, another(path[-1], value)))) == before:
                    yield ".".join(path)
            except helm.HelmError:
                # A value that is refused has an effect.
                pass

    # Only one of the two monitors can be enabled.
    found = set(dead(base)) & set(dead(merged(base, {"prometheus": MONITORED})))
    assert not found, f"values without effect: {sorted(found)}"


def check_descriptions():
    def undescribed(schema, path):
        for name, value in schema.get("properties", {}).items():
            if not value.get("description", "").endswith("."):
                yield ".".join((*path, name))
            yield from undescribed(value, (*path, name))
            yield from undescribed(value.get("items", {}), (*path, name))

    schema = json.loads((CHART / "values.schema.json").read_text())
    missing = [*undescribed(schema, ())]
    for name, definition in schema["definitions"].items():
        missing.extend(undescribed(definition, (name,)))
    assert not missing, f"values without a description: {missing}"


def check_definitions():
    wanted = {}
    for file in (REPOSITORY / "crds").glob("*.yaml"):
        definition = yaml.safe_load(file.read_text())
        wanted[definition["metadata"]["name"]] = definition["spec"]
    found = {d["metadata"]["name"]: d for d in documents({}) if d["kind"] == "CustomResourceDefinition"}
    # The webhook converts the versions of one of them.
    service = {"name": "release-herald-webhook", "namespace": "metallb-system", "path": "/convert"}
    webhook = {"conversionReviewVersions": ["v1"], "clientConfig": {"service": service}}
    converted = merged(wanted, {"bgppeers.metallb.io": {"conversion": {"strategy": "Webhook", "webhook": webhook}}})
    assert {name: d["spec"] for name, d in found.items()} == converted
    without = [d for d in documents(SETS["no webhook"]) if d["kind"] == "CustomResourceDefinition"]
    assert {d["metadata"]["name"]: d["spec"] for d in without} == wanted
    assert all(d["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep" for d in found.values())


def check_privileges():
    found = documents({})
    speaker = next(d for d in found if d["kind"] == "DaemonSet")["spec"]["template"]["spec"]
    controller = next(d for d in found if d["kind"] == "Deployment")["spec"]["template"]["spec"]
    for pod, capabilities in ((controller, {"drop": ["ALL"]}), (speaker, {"drop": ["ALL"], "add": ["NET_RAW"]})):
        security = pod["containers"][0]["securityContext"]
        assert security["capabilities"] == capabilities
        assert security["readOnlyRootFilesystem"] and not security["allowPrivilegeEscalation"]
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["containers"][0]["resources"]["requests"].keys() == {"cpu", "memory"}
        assert "limits" not in pod["containers"][0]["resources"]
        assert pod["priorityClassName"].startswith("system-")
    tests = [d for d in found if is_test(d)]
    assert [d["kind"] for d in tests] == ["Pod"]
    # What the policies of a namespace demand of the controller, its test meets as well.
    test = tests[0]["spec"]
    for field in ("serviceAccountName", "securityContext", "nodeSelector", "priorityClassName"):
        assert test[field] == controller[field], field
    for field in ("image", "resources", "securityContext"):
        assert test["containers"][0][field] == controller["containers"][0][field], field
    policy = next(d for d in documents(EVERYTHING) if d["metadata"]["name"] == "release-herald-controller" and d["kind"] == "NetworkPolicy")
    admitted = policy["spec"]["podSelector"]["matchExpressions"][0]["values"]
    assert tests[0]["metadata"]["labels"]["app.kubernetes.io/component"] in admitted
    # Pod Security, level restricted.
    assert controller["securityContext"]["runAsNonRoot"] and controller["securityContext"]["runAsGroup"] > 0
    assert not {"hostNetwork", "hostPID", "hostIPC", "volumes"} & controller.keys()
    # On the host network a port of a container is a port of the node.
    assert "ports" not in speaker["containers"][0]
    monitors = [d for d in documents(EVERYTHING) if d["kind"] == "PodMonitor"]
    assert not any("port" in endpoint for d in monitors for endpoint in d["spec"]["podMetricsEndpoints"])
    writes = {
        (d["metadata"]["name"].split(":")[-1], resource, verb)
        for d in found
        if d["kind"] == "ClusterRole"
        for rule in d["rules"]
        for resource in rule.get("resources", [])
        for verb in rule["verbs"]
        if verb not in ("get", "list", "watch")
    }
    events = {(who, "events", verb) for who in ("controller", "speaker") for verb in ("create", "patch")}
    reviews = {(who, kind, "create") for who in ("controller", "speaker") for kind in ("tokenreviews", "subjectaccessreviews")}
    own = {("controller", what, "patch") for what in ("services/status", "validatingwebhookconfigurations", "customresourcedefinitions")}
    named = [rule for d in found if d["kind"] == "ClusterRole" for rule in d["rules"] if "customresourcedefinitions" in rule.get("resources", [])]
    assert [rule["resourceNames"] for rule in named] == [["bgppeers.metallb.io"]]
    assert writes == events | reviews | own, writes


def main():
    checks = [check_lint, check_renders, check_stable, check_manifest, check_refusals, check_metallb, check_omissions, check_bgp, check_alerts, check_dashboards, check_values_matter, check_descriptions, check_definitions, check_privileges]
    failed = False
    for check in checks:
        try:
            check()
            print(f"{check.__name__} ok")
        except AssertionError as error:
            failed = True
            print(f"{check.__name__} FAILED: {error}")
    sys.exit(failed)


if __name__ == "__main__":
    main()

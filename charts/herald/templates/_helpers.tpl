{{- define "herald.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "herald.fullname" -}}
{{- $name := include "herald.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "herald.selectorLabels" -}}
app.kubernetes.io/name: {{ include "herald.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- /* A selector of the speakers' Pods. */ -}}
{{- define "herald.speaker.podLabels" -}}
app.kubernetes.io/name={{ include "herald.name" . }},app.kubernetes.io/instance={{ .Release.Name }},app.kubernetes.io/component=speaker
{{- end -}}

{{- define "herald.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "herald.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "herald.controller.serviceAccountName" -}}
{{- if .Values.controller.serviceAccount.create -}}
{{- .Values.controller.serviceAccount.name | default (printf "%s-controller" (include "herald.fullname" .)) -}}
{{- else -}}
{{- .Values.controller.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{- define "herald.speaker.serviceAccountName" -}}
{{- if .Values.speaker.serviceAccount.create -}}
{{- .Values.speaker.serviceAccount.name | default (printf "%s-speaker" (include "herald.fullname" .)) -}}
{{- else -}}
{{- .Values.speaker.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{- define "herald.secretName" -}}
{{- .Values.speaker.secretName | default (printf "%s-memberlist" (include "herald.fullname" .)) -}}
{{- end -}}

{{- /* The ConfigMap with the interfaces that never announce. MetalLB has one with the same name as Herald. */ -}}
{{- define "herald.excludeName" -}}
{{- ternary (printf "%s-excludel2" (include "herald.fullname" .)) "metallb-excludel2" (default false (.Values.migration).besideMetalLB) -}}
{{- end -}}

{{- /* Whether there is a webhook. Beside MetalLB the webhook is MetalLB's. */ -}}
{{- define "herald.webhook" -}}
{{- and .Values.controller.enabled (ne (default "disabled" .Values.controller.webhookMode) "disabled") (not (.Values.migration).besideMetalLB) -}}
{{- end -}}

{{- /* The name of the webhook's Service, Secret and configuration. */ -}}
{{- define "herald.webhookName" -}}
{{- printf "%s-webhook" (include "herald.fullname" . | trunc 55 | trimSuffix "-") -}}
{{- end -}}

{{- /* Whether values of MetalLB's chart ask for a daemon that speaks BGP. Argument: the root. */ -}}
{{- define "herald.asksForFrr" -}}
{{- if or ((.Values.speaker).frr).enabled (.Values.frrk8s).enabled (.Values.frrk8s).external -}}
true
{{- end -}}
{{- end -}}

{{- /* MULTI_EXIT_DISC of the routes without one of their own. Beside MetalLB both have the same, so none. */ -}}
{{- define "herald.bgpMed" -}}
{{- if (.Values.migration).besideMetalLB -}}
absent
{{- else if kindIs "string" .Values.speaker.bgp.med -}}
{{- .Values.speaker.bgp.med -}}
{{- else -}}
{{- .Values.speaker.bgp.med | int64 -}}
{{- end -}}
{{- end -}}

{{- /* Where an alert is explained. Argument: its heading in docs/alerts.md. */ -}}
{{- define "herald.runbook" -}}
https://github.com/herald-lb/herald/blob/main/docs/alerts.md#{{ lower . }}
{{- end -}}

{{- /* An image. Arguments: the program's values, the chart. */ -}}
{{- define "herald.image" -}}
{{- $image := index . 0 -}}
{{- $chart := index . 1 -}}
image: {{ printf "%s:%s" $image.repository ($image.tag | default $chart.AppVersion) | quote }}
{{- with $image.pullPolicy }}
imagePullPolicy: {{ . }}
{{- end }}
{{- end -}}

{{- /* Annotations of a Pod. Arguments: the program's values, the root. */ -}}
{{- define "herald.podAnnotations" -}}
{{- $own := index . 0 -}}
{{- $root := index . 1 -}}
{{- $all := dict -}}
{{- if $root.Values.prometheus.scrapeAnnotations -}}
{{- $scheme := ternary "http" "https" $root.Values.prometheus.plainHTTP -}}
{{- $all = dict "prometheus.io/scrape" "true" "prometheus.io/scheme" $scheme "prometheus.io/port" ($root.Values.prometheus.metricsPort | toString) -}}
{{- end -}}
{{- with merge (dict) $own $all }}
{{- toYaml . -}}
{{- end -}}
{{- end -}}

{{- /* Arguments about the metrics. Arguments: the Secret with the certificate, the root. */ -}}
{{- define "herald.metricsArgs" -}}
{{- $secret := index . 0 -}}
{{- $root := index . 1 -}}
- --port={{ $root.Values.prometheus.metricsPort }}
{{- if $root.Values.prometheus.plainHTTP }}
- --metrics-plain-http
{{- else }}
{{- if $secret }}
- --metrics-cert-dir=/etc/metrics
{{- end }}
{{- with $root.Values.tls.minVersion }}
- --tls-min-version={{ . }}
{{- end }}
{{- with $root.Values.tls.cipherSuites }}
- --tls-cipher-suites={{ . }}
{{- end }}
{{- with $root.Values.tls.curvePreferences }}
- --tls-curve-preferences={{ . }}
{{- end }}
{{- end }}
{{- end -}}

{{- /* The environment variable with the address of the metrics; none for all addresses. Argument: the root. */ -}}
{{- define "herald.metricsEnv" -}}
{{- with .Values.prometheus.metricsBindAddress }}
- name: HERALD_METRICS_BIND_ADDRESS
  {{- if eq . "podIP" }}
  valueFrom:
    fieldRef:
      fieldPath: status.podIP
  {{- else }}
  value: {{ . | quote }}
  {{- end }}
{{- end }}
{{- end -}}

{{- /* Rights that authenticate and authorize the clients of the metrics. Argument: the root. */ -}}
{{- define "herald.reviewRules" -}}
{{- if and .Values.prometheus.metricsPort (not .Values.prometheus.plainHTTP) }}
- apiGroups: [authentication.k8s.io]
  resources: [tokenreviews]
  verbs: [create]
- apiGroups: [authorization.k8s.io]
  resources: [subjectaccessreviews]
  verbs: [create]
{{- end }}
{{- end -}}

{{- /* Scheduling of a Pod and its extra containers. Argument: the program's values. */ -}}
{{- define "herald.placement" -}}
nodeSelector:
  kubernetes.io/os: linux
  {{- with .nodeSelector }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- end -}}

{{- /* A probe. Arguments: its values, the path, the port, the host if not the Pod's. */ -}}
{{- define "herald.probe" -}}
{{- $probe := index . 0 -}}
httpGet:
  {{- with index . 3 }}
  host: {{ . }}
  {{- end }}
  path: {{ index . 1 }}
  port: {{ index . 2 }}
initialDelaySeconds: {{ $probe.initialDelaySeconds }}
periodSeconds: {{ $probe.periodSeconds }}
timeoutSeconds: {{ $probe.timeoutSeconds }}
successThreshold: {{ $probe.successThreshold }}
failureThreshold: {{ $probe.failureThreshold }}
{{- end -}}

{{- /* Refuses values of MetalLB's chart for features that Herald does not have: a refusal is better than silence. */ -}}
{{- define "herald.refuse" -}}
{{- $values := .Values -}}
{{- if $values.configInline -}}
{{- fail "configInline is not supported: create IPAddressPool, L2Advertisement, BGPPeer and BGPAdvertisement resources" -}}
{{- end -}}
{{- if ($values.migration).besideMetalLB -}}
{{- if eq (include "herald.name" .) "metallb" -}}
{{- fail "migration.besideMetalLB: the Pods of Herald must not have the name of MetalLB's; set another nameOverride than metallb" -}}
{{- end -}}
{{- if not $values.speaker.takeoverVerification -}}
{{- fail "migration.besideMetalLB: the speakers must probe which addresses MetalLB answers for; set speaker.takeoverVerification to true" -}}
{{- end -}}
{{- if not $values.speaker.memberlist.enabled -}}
{{- fail "migration.besideMetalLB: the speakers must know each other; set speaker.memberlist.enabled to true" -}}
{{- end -}}
{{- if has (int $values.speaker.memberlist.mlBindPort) (list 7946 7473) -}}
{{- fail "migration.besideMetalLB: MetalLB has this port on the nodes; set speaker.memberlist.mlBindPort to another one, such as 7956" -}}
{{- end -}}
{{- if has (int $values.prometheus.metricsPort) (list 7472 9120) -}}
{{- fail "migration.besideMetalLB: MetalLB has this port on the nodes; set prometheus.metricsPort to another one, such as 9130" -}}
{{- end -}}
{{- if eq (int $values.speaker.livenessProbe.port) 17472 -}}
{{- fail "migration.besideMetalLB: MetalLB may have this port on the nodes; set speaker.livenessProbe.port to another one, such as 17482" -}}
{{- end -}}
{{- if has $values.speaker.secretName (list "memberlist" "metallb-memberlist") -}}
{{- fail "migration.besideMetalLB: this Secret is MetalLB's; remove speaker.secretName" -}}
{{- end -}}
{{- end -}}
{{- with $values.tls -}}
{{- if and .cipherSuites (ne .minVersion "VersionTLS12") -}}
{{- fail "tls.cipherSuites: the cipher suites of TLS 1.3 cannot be chosen; set tls.minVersion to VersionTLS12" -}}
{{- end -}}
{{- end -}}
{{- with $values.prometheus -}}
{{- if and .podMonitor.enabled .serviceMonitor.enabled -}}
{{- fail "prometheus: both monitors would scrape each program twice; enable podMonitor or serviceMonitor" -}}
{{- end -}}
{{- if and (or .podMonitor.enabled .serviceMonitor.enabled) (not .metricsPort) -}}
{{- fail "prometheus: a monitor needs metrics; set prometheus.metricsPort" -}}
{{- end -}}
{{- if and .rbacPrometheus (or .podMonitor.enabled .serviceMonitor.enabled) (not (and .serviceAccount .namespace)) -}}
{{- fail "prometheus.serviceAccount and prometheus.namespace: name the ServiceAccount of Prometheus, which gets the right to find the Pods; or set prometheus.rbacPrometheus to false" -}}
{{- end -}}
{{- end -}}
{{- range $program := list "controller" "speaker" -}}
{{- $image := (index $values $program).image -}}
{{- if regexMatch "(^|/)(metallb/(controller|speaker)|metallb-(controller|speaker))$" $image.repository -}}
{{- fail (printf "%s.image.repository: %s is MetalLB's image and has no /herald-%s; name the image that you built of Herald (docs/install/before.md), and remove MetalLB's tag" $program $image.repository $program) -}}
{{- end -}}
{{- end -}}
{{- $decides := and $values.controller.enabled (ne $values.controller.webhookMode "onlywebhook") -}}
{{- if and $values.speaker.enabled $values.speaker.memberlist.enabled (not $decides) (not $values.speaker.secretName) -}}
{{- fail "speaker.secretName: the controller makes the gossip key, and this release has none; name a Secret with the key in its field secretkey" -}}
{{- end -}}
{{- if not $values.speaker.memberlist.enabled -}}
{{- $cause := "" -}}
{{- if $values.speaker.nodeSelector -}}
{{- $cause = "speaker.nodeSelector" -}}
{{- else if $values.speaker.affinity -}}
{{- $cause = "speaker.affinity" -}}
{{- else if not $values.speaker.tolerateMaster -}}
{{- $cause = "speaker.tolerateMaster=false" -}}
{{- end -}}
{{- if $cause -}}
{{- fail (printf "speaker.memberlist.enabled=false with %s: without gossip every node counts as running a speaker, so nodes without one would be elected, and no machine would answer for their addresses" $cause) -}}
{{- end -}}
{{- end -}}
{{- end -}}

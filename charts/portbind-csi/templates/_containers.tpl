{{/*
A sidecar of the controller: (dict "root" $ "name" "csi-attacher" "values" .Values.sidecars.attacher "port" 9812 "args" (list ...)
"env" (list of fields of the pod)). All of them elect a leader and tell their health at the port.
*/}}
{{- define "portbind.controllerSidecar" -}}
- name: {{ .name }}
  image: {{ include "portbind.image" (dict "image" .values.image) }}
  imagePullPolicy: {{ .values.image.pullPolicy }}
  args:
    - --csi-address=/csi/csi.sock
    - --leader-election
    - --leader-election-namespace={{ .root.Release.Namespace }}
    - --feature-gates=ReleaseLeaderElectionOnExit=true
    - --http-endpoint=:{{ .port }}
    - --timeout={{ .values.timeout }}
    - --retry-interval-max=1m
    - --kube-api-qps={{ .values.kubeAPIQPS }}
    - --kube-api-burst={{ .values.kubeAPIBurst }}
    {{- range .args }}
    - {{ . }}
    {{- end }}
    - --v={{ .root.Values.sidecars.logLevel }}
    {{- with .values.extraArgs }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .env }}
  env:
    {{- range $name, $path := . }}
    - { name: {{ $name }}, valueFrom: { fieldRef: { fieldPath: {{ $path }} } } }
    {{- end }}
  {{- end }}
  ports:
    - { name: {{ .name | trimPrefix "csi-" }}, containerPort: {{ .port }}, protocol: TCP }
  livenessProbe:
    httpGet: { path: /healthz/leader-election, port: {{ .port }} }
    {{- toYaml .root.Values.sidecars.leaseProbe | nindent 4 }}
  securityContext:
    {{- include "portbind.restricted" .root | nindent 4 }}
  volumeMounts:
    - { name: socket, mountPath: /csi }
    {{- include "portbind.tokenMount" .root | nindent 4 }}
  resources:
    {{- toYaml .values.resources | nindent 4 }}
{{- end }}

{{/* Tells kubelet over HTTP what the plugin says to Probe: (dict "root" $ "endpoint" ":9808"). */}}
{{- define "portbind.livenessProbe" -}}
{{- $v := .root.Values.sidecars.livenessProbe -}}
- name: liveness-probe
  image: {{ include "portbind.image" (dict "image" $v.image) }}
  imagePullPolicy: {{ $v.image.pullPolicy }}
  args:
    - --csi-address=/csi/csi.sock
    - --http-endpoint={{ .endpoint }}
    - --probe-timeout={{ $v.timeout }}
    - --v={{ .root.Values.sidecars.logLevel }}
    {{- with $v.extraArgs }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  securityContext:
    {{- include "portbind.restricted" .root | nindent 4 }}
    {{- with .seLinuxType }}
    seLinuxOptions: { type: {{ . }} }
    {{- end }}
  volumeMounts:
    - { name: socket, mountPath: /csi }
  resources:
    {{- toYaml $v.resources | nindent 4 }}
{{- end }}

{{/*
Probes of a plugin, and what makes kubelet start the other containers of its pod after it answers. A sidecar whose connection is
accepted and then not answered within a second, as on a node that is busy starting the pod, takes it for lost, and ends. Ready: it can work, as its Probe says. Alive: it answers at all; restarting one that waits for iscsid or for a
target would only delay it. It is given up a while before kubelet gives up on asking, so that its reason is told.
(dict "get" "the httpGet's fields" "values" .Values.node)
*/}}
{{- define "portbind.probes" -}}
lifecycle:
  postStart:
    exec: { command: [/portbind-csi, alive, --wait, --endpoint=unix:///csi/csi.sock, --timeout=2m] }
readinessProbe:
  httpGet: {{ .get }}
  {{- toYaml .values.readinessProbe | nindent 2 }}
livenessProbe:
  exec: { command: [/portbind-csi, alive, --endpoint=unix:///csi/csi.sock, --timeout={{ mulf .values.livenessProbe.timeoutSeconds 750 | int }}ms] }
  {{- toYaml .values.livenessProbe | nindent 2 }}
{{- end }}

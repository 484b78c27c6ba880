{{/* Names and labels. */}}
{{- define "portbind.driver" -}}iscsi.portbind.io{{- end }}

{{- define "portbind.startupTaint" -}}{{ include "portbind.driver" . }}/agent-not-ready{{- end }}

{{- define "portbind.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "portbind.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains (include "portbind.name" .) .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "portbind.name" .) | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* labels (dict "root" $ "component" "controller"): component may be absent. */}}
{{- define "portbind.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{ include "portbind.selector" . }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "portbind.selector" -}}
app.kubernetes.io/name: {{ include "portbind.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end }}

{{/* image (dict "image" .Values.image "default" "the tag of an empty tag") */}}
{{- define "portbind.image" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ .image.tag | default .default }}
{{- end }}
{{- end }}

{{/* What the node's system asks for, overridden by .Values.host: YAML with kubeletDir, stateDir, seLinuxType. */}}
{{- define "portbind.host" -}}
{{- $known := .Files.Get "files/distributions.yaml" | fromYaml }}
{{- $host := deepCopy (index $known .Values.distribution) }}
{{- range $key, $value := .Values.host }}
{{- if $value }}{{- $_ := set $host $key $value }}{{- end }}
{{- end }}
{{- toYaml $host }}
{{- end }}

{{/* Nothing that an ordinary process needs is taken away by this. */}}
{{- define "portbind.restricted" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end }}

{{/* Whether the node plugin's interfaces depend on what Kubernetes knows of its node. */}}
{{- define "portbind.readsNode" -}}
{{- $reads := .Values.nodeAnnotation }}
{{- range .Values.interfaces }}{{- if .nodeSelector }}{{- $reads = true }}{{- end }}{{- end }}
{{- if $reads }}yes{{- end }}
{{- end }}

{{/* Whether two nodes may have one initiator name, for which the node plugin looks: not where it is made of the node's. */}}
{{- define "portbind.guardsName" -}}
{{- if ne .Values.initiatorName "auto" }}yes{{- end }}
{{- end }}

{{/* Whether the node plugin talks to the API server: empty when not. */}}
{{- define "portbind.nodeToken" -}}
{{- $named := or (include "portbind.readsNode" .) (include "portbind.guardsName" .) }}
{{- if or .Values.node.events .Values.node.livePolicy .Values.node.startupTaint.remove $named }}yes{{- end }}
{{- end }}

{{/* The service account's token, for the containers that talk to the API server. */}}
{{- define "portbind.tokenVolume" -}}
- name: api-access
  projected:
    defaultMode: 0440
    sources:
      - serviceAccountToken: { path: token, expirationSeconds: 3607 }
      - configMap: { name: kube-root-ca.crt, items: [{ key: ca.crt, path: ca.crt }] }
      - downwardAPI: { items: [{ path: namespace, fieldRef: { fieldPath: metadata.namespace } }] }
{{- end }}

{{- define "portbind.tokenMount" -}}
- { name: api-access, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true }
{{- end }}

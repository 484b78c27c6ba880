{{/* What a schema cannot say: names that other values refer to. */}}
{{- define "portbind.validate" -}}
{{- $interfaces := list }}
{{- range .Values.interfaces }}{{- $interfaces = append $interfaces .name }}{{- end }}
{{- $targets := list }}
{{- range $i, $t := .Values.targets }}
{{- if has $t.name $targets }}{{- fail (printf "targets[%d].name: %q is there already" $i $t.name) }}{{- end }}
{{- $targets = append $targets $t.name }}
{{- end }}
{{- range $i, $class := .Values.storageClasses }}
{{- $where := printf "storageClasses[%d] (%s).parameters" $i $class.name }}
{{- $p := $class.parameters | default dict }}
{{- $wanted := $p.interfaces | default list }}
{{- if kindIs "string" $wanted }}{{- $wanted = splitList "," $wanted }}{{- end }}
{{- range $wanted }}
{{- if not (has . $interfaces) }}
{{- fail (printf "%s.interfaces: %q is none of interfaces: %s" $where . (join ", " (uniq $interfaces))) }}
{{- end }}
{{- end }}
{{- if and $p.target (not (has $p.target $targets)) }}
{{- fail (printf "%s.target: %q is none of targets: %s" $where $p.target (join ", " $targets | default "there are none")) }}
{{- end }}
{{- end }}
{{- if eq .Values.controller.updateStrategy.type "OnDelete" }}
{{- fail "controller.updateStrategy.type: OnDelete is for DaemonSets; RollingUpdate or Recreate" }}
{{- end }}
{{- if eq .Values.node.updateStrategy.type "Recreate" }}
{{- fail "node.updateStrategy.type: Recreate is for Deployments; RollingUpdate or OnDelete" }}
{{- end }}
{{- end }}

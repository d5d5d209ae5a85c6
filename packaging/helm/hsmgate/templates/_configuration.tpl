{{- define "hsmgate.name" -}}
{{- if contains "hsmgate" .Release.Name }}{{ .Release.Name }}{{ else }}{{ .Release.Name }}-hsmgate{{ end }}
{{- end }}

{{- define "hsmgate.labels" -}}
app.kubernetes.io/name: hsmgate
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* The configuration: what the other values say, under what settings says. */}}
{{- define "hsmgate.configuration" -}}
{{- $token := dict "module" .Values.token.module "pin_file" "/run/hsmgate/pin" }}
{{- with .Values.token.label }}{{ $_ := set $token "label" . }}{{ end }}
{{- with .Values.token.serial }}{{ $_ := set $token "serial" . }}{{ end }}
{{- $url := .Values.database.url }}
{{- if .Values.database.caSecret.name }}
{{- $url = printf "%s%ssslrootcert=/etc/hsmgate/database-ca.pem" $url (ternary "&" "?" (contains "?" $url)) }}
{{- end }}
{{- $store := dict "url" $url "state_directory" "/var/lib/hsmgate/state" }}
{{- if .Values.database.passwordSecret.name }}{{ $_ := set $store "password_file" "/run/hsmgate/database-password" }}{{ end }}
{{- $listen := dict "address" "0.0.0.0:8200" "drain_ms" 5000 }}
{{- $sections := dict
  "listen" $listen
  "admin" (dict "address" "0.0.0.0:8201" "allow_insecure_http" true)
  "service" (dict "account" .Values.account "region" .Values.region)
  "token" $token
  "store" $store
  "log" (dict "format" "json") }}
{{- if .Values.tls.secret }}
{{- $_ := set $sections "tls" (dict "certificate" "/run/hsmgate/tls.crt" "key" "/run/hsmgate/tls.key") }}
{{- else }}
{{- $_ := set $listen "allow_insecure_http" true }}
{{- end }}
{{- range $section, $settings := mergeOverwrite $sections (deepCopy .Values.settings) }}
[{{ $section }}]
{{- range $name, $value := $settings }}
{{ $name }} = {{ if kindIs "float64" $value }}{{ int64 $value }}{{ else }}{{ toRawJson $value }}{{ end }}
{{- end }}
{{ end }}
{{- end }}

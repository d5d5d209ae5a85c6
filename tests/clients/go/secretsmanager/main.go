// The first generation of the vendor's secrets client. It speaks https only, and keeps values in memory.
package main

import (
	"os"
	"strings"

	secretsmanager "github.com/aliyun/aliyun-secretsmanager-client-go/sdk"
	"github.com/aliyun/aliyun-secretsmanager-client-go/sdk/service"

	"hsmgate.test/older"
	"hsmgate.test/support/api"
	"hsmgate.test/support/cases"
	"hsmgate.test/support/steps"
)

func main() {
	gateway := steps.TLS()
	public := older.Variant("https", gateway, older.Way{Method: "POST", Format: "JSON"}, api.NewSeen())
	key := cases.ClientKey{}
	steps.Step("a-secret-reader-is-made", func(t *steps.T) { key = public.NewSecretReader(t, "secret/read/*") })
	create := func(t *steps.T, value, kind string) string {
		return public.NewSecret(t, value, api.P{"SecretName": "read/" + cases.Unique("go"), "SecretDataType": kind})
	}
	// With a client key for the public API it calls the cloud's STS first, whatever the endpoint is.
	for _, settings := range []string{"access-key", "instance"} {
		steps.Step(settings+"-reads-every-value-byte-for-byte", func(t *steps.T) {
			client := connect(t, settings, gateway, key)
			defer client.Close()
			for name, value := range cases.SecretValues {
				got := steps.Must(client.GetStringValue(create(t, value.Text, "text")))
				t.True(got == value.Text, "%s is another value", name)
				t.Bytes(steps.Must(client.GetBinaryValue(create(t, value.Text, "binary"))), []byte(value.Text))
			}
		})
		steps.Step(settings+"-keeps-a-value-until-it-is-refreshed", func(t *steps.T) {
			client := connect(t, settings, gateway, key)
			defer client.Close()
			name := create(t, "first", "text")
			t.Equal(steps.Must(client.GetStringValue(name)), "first")
			public.Must(t, "PutSecretValue", api.P{"SecretName": name, "VersionId": "v2", "SecretData": "second"})
			t.Equal(steps.Must(client.GetStringValue(name)), "first")
			t.True(steps.Must(client.RefreshNow(name)), "it is not refreshed")
			t.Equal(steps.Must(client.GetStringValue(name)), "second")
		})
		steps.Step(settings+"-shows-the-code-of-a-missing-secret", func(t *steps.T) {
			client := connect(t, settings, gateway, key)
			defer client.Close()
			_, err := client.GetStringValue("read/none")
			t.True(err != nil && strings.Contains(err.Error(), "Forbidden.ResourceNotFound"), "%v", err)
		})
	}
	steps.Step("a-client-key-reads-no-other-secret", func(t *steps.T) {
		other := public.NewSecret(t, "x", nil)
		client := connect(t, "instance", gateway, key)
		defer client.Close()
		_, err := client.GetStringValue(other)
		t.True(err != nil && strings.Contains(err.Error(), "Forbidden.NoPermission"), "%v", err)
	})
	os.RemoveAll(folder)
	steps.End()
}

// folder has the files of settings, which the clients read again later.
var folder = steps.Must(os.MkdirTemp("", "secrets"))

// connect builds a client from a file of settings.
func connect(t *steps.T, settings string, gateway steps.Gateway, key cases.ClientKey) *secretsmanager.SecretManagerCacheClient {
	folder := steps.Must(os.MkdirTemp(folder, "settings"))
	file := gateway.Settings(t, folder, settings+".properties", key.Content, key.Password)
	client := service.NewDefaultSecretManagerClientBuilder().WithCustomConfigFile(file).Build()
	return steps.Must(secretsmanager.NewSecretCacheClientBuilder(client).WithLogger(quiet{}).Build())
}

// quiet drops what the client would write between the lines of the steps.
type quiet struct{}

func (quiet) Flush()                {}
func (quiet) Tracef(string, ...any) {}
func (quiet) Infof(string, ...any)  {}
func (quiet) Debugf(string, ...any) {}
func (quiet) Warnf(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}

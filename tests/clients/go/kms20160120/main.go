// The newest official Go SDK of the public API.
package main

import (
	"encoding/base64"

	openapi "github.com/alibabacloud-go/darabonba-openapi/v2/client"
	kms "github.com/alibabacloud-go/kms-20160120/v3/client"
	"github.com/alibabacloud-go/tea/tea"
	"hsmgate.test/support/steps"
)

// connect makes a client as a program would: endpoint, scheme and CA are all that differs.
func connect(gateway steps.Gateway) *kms.Client {
	config := &openapi.Config{
		AccessKeyId:     tea.String(gateway.AccessKeyID),
		AccessKeySecret: tea.String(gateway.AccessKeySecret),
		RegionId:        tea.String(gateway.Region),
		Endpoint:        tea.String(gateway.Address()),
		Protocol:        tea.String(gateway.Scheme()),
	}
	if gateway.CAFile != "" {
		config.Ca = tea.String(gateway.CA())
	}
	return steps.Must(kms.NewClient(config))
}

func main() {
	for scheme, gateway := range map[string]steps.Gateway{"http": steps.Plain(), "https": steps.TLS()} {
		steps.Step("encrypt-and-decrypt-over-"+scheme, func(t *steps.T) {
			client := connect(gateway)
			plaintext := base64.StdEncoding.EncodeToString([]byte("a secret of the test"))
			context := map[string]any{"shop": "1", "Ж": "ключ"}
			sealed := steps.Must(client.Encrypt(&kms.EncryptRequest{
				KeyId: &gateway.Alias, Plaintext: &plaintext, EncryptionContext: context,
			}))
			t.Equal(*sealed.Body.KeyId, gateway.KeyID)
			opened := steps.Must(client.Decrypt(&kms.DecryptRequest{
				CiphertextBlob: sealed.Body.CiphertextBlob, EncryptionContext: context,
			}))
			t.Equal(*opened.Body.Plaintext, plaintext)
		})
	}
	steps.End()
}

// The wrapper by which Vault and OpenBao seal themselves: HashiCorp's module with its own tests, and the
// calls of OpenBao's, which makes the same ones with another version of the SDK.
package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/aliyun/alibaba-cloud-sdk-go/sdk"
	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/auth/credentials"
	failure "github.com/aliyun/alibaba-cloud-sdk-go/sdk/errors"
	"github.com/aliyun/alibaba-cloud-sdk-go/services/kms"
	wrapping "github.com/hashicorp/go-kms-wrapping/v2"
	"github.com/hashicorp/go-kms-wrapping/wrappers/alicloudkms/v2"

	"hsmgate.test/older"
	"hsmgate.test/support/api"
	"hsmgate.test/support/steps"
)

func main() {
	gateway := steps.TLS()
	public := older.Variant("https", gateway, older.Way{Method: "POST", Format: "JSON"}, api.NewSeen())
	// The wrapper has no option for a CA: it trusts the system's.
	os.Setenv("SSL_CERT_FILE", gateway.CAFile)
	names := map[string]string{
		"id": gateway.KeyID, "alias": gateway.Alias,
		"arn": "acs:kms:" + gateway.Region + ":" + gateway.Account + ":key/" + gateway.KeyID,
	}
	for name, key := range names {
		steps.Step("the-acceptance-test-passes-by-"+name, func(t *steps.T) { acceptance(t, gateway, key) })
	}
	steps.Step("the-acceptance-test-passes-with-the-least-policy", func(t *steps.T) {
		key := names["arn"]
		temporary := steps.Must(gateway.AssumeRoleRequest(`{"Version":"1","Statement":[{"Effect":"Allow",` +
			`"Action":["kms:DescribeKey","kms:Encrypt","kms:Decrypt"],"Resource":"` + key + `"}]}`))
		older.Variant("https", temporary, older.Way{Method: "POST", Format: "JSON"}, api.NewSeen()).AwaitAccessKey(t)
		acceptance(t, temporary, gateway.KeyID)
	})
	steps.Step("the-unit-tests-pass", func(t *steps.T) {
		run(t, nil, "^TestAliCloudKms", "TestAliCloudKmsWrapper", "TestAliCloudKmsWrapper_Lifecycle")
	})
	steps.Step("the-wrapper-seals-and-opens-across-a-rotation", func(t *steps.T) {
		key := public.NewKey(t, nil)
		wrapper := configured(gateway, key)
		secret := []byte("the root key \x00\xff")
		sealed := steps.Must(wrapper.Encrypt(context.Background(), secret, wrapping.WithAad([]byte("aad"))))
		t.Equal(sealed.KeyInfo.KeyId, key)
		public.Must(t, "CreateKeyVersion", api.P{"KeyId": key})
		opened := steps.Must(configured(gateway, key).Decrypt(context.Background(), sealed, wrapping.WithAad([]byte("aad"))))
		t.Bytes(opened, secret)
		_, err := wrapper.Decrypt(context.Background(), sealed, wrapping.WithAad([]byte("other")))
		t.True(err != nil, "it opens with other data beside it")
	})
	steps.Step("a-disabled-key-unseals-nothing-and-an-enabled-one-does", func(t *steps.T) {
		key := public.NewKey(t, nil)
		wrapper := configured(gateway, key)
		sealed := steps.Must(wrapper.Encrypt(context.Background(), []byte("secret")))
		public.Must(t, "DisableKey", api.P{"KeyId": key})
		_, err := wrapper.Decrypt(context.Background(), sealed)
		isRefused(t, err, 409, "Rejected.Disabled")
		public.Must(t, "EnableKey", api.P{"KeyId": key})
		t.Bytes(steps.Must(wrapper.Decrypt(context.Background(), sealed)), []byte("secret"))
	})
	refused := []struct {
		name, code, key string
		status          int
		change          func(*steps.Gateway)
	}{
		{"a-key-that-is-not-there", "Forbidden.KeyNotFound", "key-does-not-exist", 404, nil},
		{"an-alias-that-is-not-there", "Forbidden.AliasNotFound", "alias/none", 404, nil},
		{"an-unknown-access-key", "InvalidAccessKeyId.NotFound", gateway.KeyID, 404,
			func(g *steps.Gateway) { g.AccessKeyID = "LTAInobody" }},
		{"a-wrong-secret", "SignatureDoesNotMatch", gateway.KeyID, 400,
			func(g *steps.Gateway) { g.AccessKeySecret = "other" }},
	}
	for _, how := range refused {
		steps.Step("the-wrapper-says-why-it-cannot-start-with-"+how.name, func(t *steps.T) {
			changed := gateway
			if how.change != nil {
				how.change(&changed)
			}
			_, err := newWrapper(changed, how.key)
			isRefused(t, err, how.status, how.code)
		})
	}
	openBao(gateway)
	steps.End()
}

// acceptance runs the acceptance test of the module, which reads all from its environment.
func acceptance(t *steps.T, gateway steps.Gateway, key string) {
	environment := []string{
		"KMS_ACC_TESTS=1", "ALICLOUDKMS_WRAPPER_KEY_ID=" + key, "ALICLOUD_DOMAIN=" + gateway.Address(),
		"ALICLOUD_REGION=" + gateway.Region, "ALICLOUD_ACCESS_KEY=" + gateway.AccessKeyID,
		"ALICLOUD_SECRET_KEY=" + gateway.AccessKeySecret,
	}
	if gateway.SecurityToken != "" {
		environment = append(environment, "ALICLOUD_ACCESS_KEY_STS_TOKEN="+gateway.SecurityToken)
	}
	run(t, environment, "^TestAccAliCloudKmsWrapper_Lifecycle$", "TestAccAliCloudKmsWrapper_Lifecycle")
}

var passed = regexp.MustCompile(`(?m)^--- PASS: (\S+)`)

// run runs tests of the module, which the harness has built beside this program, and wants these to pass.
func run(t *steps.T, environment []string, pattern string, want ...string) {
	program := filepath.Join(filepath.Dir(steps.Must(os.Executable())), "alicloudkms.test")
	command := exec.Command(program, "-test.v", "-test.run", pattern)
	command.Env = append(os.Environ(), environment...)
	output, err := command.CombinedOutput()
	t.True(err == nil, "%v: %s", err, output)
	var got []string
	for _, match := range passed.FindAllStringSubmatch(string(output), -1) {
		got = append(got, match[1])
	}
	t.Equal(strings.Join(got, " "), strings.Join(want, " "))
}

func newWrapper(gateway steps.Gateway, key string) (*alicloudkms.Wrapper, error) {
	wrapper := alicloudkms.NewWrapper()
	_, err := wrapper.SetConfig(context.Background(), wrapping.WithConfigMap(map[string]string{
		"kms_key_id": key, "region": gateway.Region, "domain": gateway.Address(),
		"access_key": gateway.AccessKeyID, "secret_key": gateway.AccessKeySecret,
	}))
	return wrapper, err
}

func configured(gateway steps.Gateway, key string) *alicloudkms.Wrapper {
	return steps.Must(newWrapper(gateway, key))
}

func isRefused(t *steps.T, err error, status int, code string) {
	var failed *failure.ServerError
	t.True(errors.As(err, &failed), "want %s, got %v", code, err)
	t.Equal(failed.ErrorCode(), code)
	t.Equal(failed.HttpStatus(), status)
	t.Equal(len(failed.RequestId()), 36)
}

// openBao makes the calls of OpenBao's wrapper in their order: the module itself is not served by the
// module proxy. It names the domain in each request, describes the key once, and seals a data key of
// its own for each secret.
func openBao(gateway steps.Gateway) {
	steps.Step("the-calls-of-openbao-describe-seal-and-open", func(t *steps.T) {
		config := sdk.NewConfig()
		config.Scheme = "https"
		accessKey := credentials.NewAccessKeyCredential(gateway.AccessKeyID, gateway.AccessKeySecret)
		client := steps.Must(kms.NewClientWithOptions("", config, accessKey))
		describe := kms.CreateDescribeKeyRequest()
		describe.KeyId, describe.Domain = gateway.Alias, gateway.Address()
		t.Equal(steps.Must(client.DescribeKey(describe)).KeyMetadata.KeyId, gateway.KeyID)
		dataKey := make([]byte, 32)
		rand.Read(dataKey)
		encrypt := kms.CreateEncryptRequest()
		encrypt.KeyId, encrypt.Domain = gateway.Alias, gateway.Address()
		encrypt.Plaintext = base64.StdEncoding.EncodeToString(dataKey)
		sealed := steps.Must(client.Encrypt(encrypt))
		t.Equal(sealed.KeyId, gateway.KeyID)
		decrypt := kms.CreateDecryptRequest()
		decrypt.CiphertextBlob, decrypt.Domain = sealed.CiphertextBlob, gateway.Address()
		t.Equal(steps.Must(client.Decrypt(decrypt)).Plaintext, encrypt.Plaintext)
	})
}

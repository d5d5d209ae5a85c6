// The filter of the official Go client of Nacos, which seals configurations before they are published and
// opens them after they are read. It speaks https only.
package main

import (
	"crypto/aes"
	"encoding/base64"
	"io"
	"strings"

	"github.com/nacos-group/nacos-sdk-go/v2/common/constant"
	"github.com/nacos-group/nacos-sdk-go/v2/common/encryption"
	"github.com/nacos-group/nacos-sdk-go/v2/common/filter"
	"github.com/nacos-group/nacos-sdk-go/v2/common/logger"
	"github.com/nacos-group/nacos-sdk-go/v2/vo"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"hsmgate.test/older"
	"hsmgate.test/support/api"
	"hsmgate.test/support/cases"
	"hsmgate.test/support/steps"
)

const content = "spring:\n  password: пароль 密码 \"x\"\n"

func main() {
	quiet := zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(io.Discard), zap.ErrorLevel)
	logger.SetLogger(zap.New(quiet).Sugar())
	gateway, text := steps.TLS(), steps.Text()
	way := older.Way{Method: "POST", Format: "JSON"}
	public := older.Variant("https", gateway, way, api.NewSeen())
	for _, size := range []string{"128", "256"} {
		prefix := "cipher-kms-aes-" + size + "-"
		steps.Step("an-access-key-seals-with-a-data-key-of-"+size, func(t *steps.T) {
			comesBack(t, byAccessKey(gateway), public, prefix, gateway.Alias)
		})
		steps.Step("a-client-key-seals-with-a-data-key-of-"+size, func(t *steps.T) {
			comesBack(t, byClientKey(gateway, public.NewClientKey(t)), public, prefix, gateway.KeyID)
		})
	}
	steps.Step("each-way-opens-what-the-other-has-sealed", func(t *steps.T) {
		ways := []constant.ClientConfig{byAccessKey(gateway), byClientKey(gateway, public.NewClientKey(t))}
		for at := range ways {
			sealed := &vo.ConfigParam{
				DataId: "cipher-kms-aes-256-x", Content: content, KmsKeyId: gateway.KeyID, UsageType: vo.RequestType,
			}
			t.OK(newFilter(ways[at]).DoFilter(sealed))
			sealed.UsageType = vo.ResponseType
			t.OK(newFilter(ways[1-at]).DoFilter(sealed))
			t.Equal(sealed.Content, content)
		}
	})
	steps.Step("a-configuration-is-sealed-whole-where-text-is-accepted", func(t *steps.T) {
		public := older.Variant("https", text, way, api.NewSeen())
		for _, config := range []constant.ClientConfig{byAccessKey(text), byClientKey(text, public.NewClientKey(t))} {
			sealed := publish(t, config, "cipher-x", text.KeyID)
			opened := public.Must(t, "Decrypt", api.P{"CiphertextBlob": sealed.Content})
			t.Equal(opened.Text("Plaintext"), content)
			read(t, config, sealed)
		}
	})
	steps.Step("a-configuration-that-is-no-base64-is-refused-elsewhere", func(t *steps.T) {
		err := newFilter(byAccessKey(gateway)).DoFilter(&vo.ConfigParam{
			DataId: "cipher-x", Content: content, KmsKeyId: gateway.KeyID, UsageType: vo.RequestType,
		})
		t.True(err != nil && strings.Contains(err.Error(), "accept_non_base64_plaintext"), "got %v", err)
	})
	steps.Step("the-default-key-of-nacos-is-not-there", func(t *steps.T) {
		err := newFilter(byAccessKey(gateway)).DoFilter(&vo.ConfigParam{
			DataId: "cipher-kms-aes-256-x", Content: content, KmsKeyId: "alias/acs/mse", UsageType: vo.RequestType,
		})
		t.True(err != nil && strings.Contains(err.Error(), "Forbidden.AliasNotFound"), "got %v", err)
	})
	steps.Step("a-changed-data-key-does-not-open", func(t *steps.T) {
		sealed := publish(t, byAccessKey(gateway), "cipher-kms-aes-256-x", gateway.KeyID)
		blob := cases.Decode(sealed.EncryptedDataKey)
		blob[len(blob)-1] ^= 1
		sealed.EncryptedDataKey, sealed.UsageType = cases.Encode(blob), vo.ResponseType
		err := newFilter(byAccessKey(gateway)).DoFilter(sealed)
		t.True(err != nil && strings.Contains(err.Error(), "InvalidParameter"), "got %v", err)
	})
	steps.Step("a-disabled-key-opens-nothing", func(t *steps.T) {
		key := public.NewKey(t, nil)
		sealed := publish(t, byAccessKey(gateway), "cipher-kms-aes-128-x", key)
		public.Must(t, "DisableKey", api.P{"KeyId": key})
		sealed.UsageType = vo.ResponseType
		err := newFilter(byAccessKey(gateway)).DoFilter(sealed)
		t.True(err != nil && strings.Contains(err.Error(), "Rejected.Disabled"), "got %v", err)
	})
	steps.Step("other-configurations-are-left-alone", func(t *steps.T) {
		plain := &vo.ConfigParam{DataId: "application.yml", Content: content, UsageType: vo.RequestType}
		t.OK(newFilter(byAccessKey(gateway)).DoFilter(plain))
		t.Equal(plain.Content+plain.EncryptedDataKey, content)
	})
	steps.End()
}

// byAccessKey is what a user sets to seal with an AccessKey.
func byAccessKey(gateway steps.Gateway) constant.ClientConfig {
	return constant.ClientConfig{
		OpenKMS: true, KMSVersion: constant.KMSv1, RegionId: gateway.Region,
		AccessKey: gateway.AccessKeyID, SecretKey: gateway.AccessKeySecret,
		KMSConfig: &constant.KMSConfig{Endpoint: gateway.Address(), CaContent: gateway.CA()},
	}
}

// byClientKey is what a user sets to seal with a client key.
func byClientKey(gateway steps.Gateway, key cases.ClientKey) constant.ClientConfig {
	return constant.ClientConfig{
		OpenKMS: true, KMSVersion: constant.KMSv3,
		KMSv3Config: &constant.KMSv3Config{
			Endpoint: gateway.Address(), CaContent: gateway.CA(), ClientKeyContent: key.Content, Password: key.Password,
		},
	}
}

// newFilter is what the client of configurations builds from its settings.
func newFilter(config constant.ClientConfig) filter.IConfigFilter {
	handler := encryption.NewKmsHandler()
	encryption.RegisterConfigEncryptionKmsPlugins(handler, config)
	return filter.NewDefaultConfigEncryptionFilter(handler)
}

func publish(t *steps.T, config constant.ClientConfig, id, key string) *vo.ConfigParam {
	sealed := &vo.ConfigParam{DataId: id, Content: content, KmsKeyId: key, UsageType: vo.RequestType}
	t.OK(newFilter(config).DoFilter(sealed))
	t.True(!strings.Contains(sealed.Content, "password"), "it is not sealed")
	return sealed
}

func read(t *steps.T, config constant.ClientConfig, sealed *vo.ConfigParam) {
	sealed.UsageType = vo.ResponseType
	t.OK(newFilter(config).DoFilter(sealed))
	t.Equal(sealed.Content, content)
}

// comesBack seals a configuration, opens it without the filter and with it.
func comesBack(t *steps.T, config constant.ClientConfig, public *cases.Variant, prefix, key string) {
	sealed := publish(t, config, prefix+"x", key)
	dataKey := public.Must(t, "Decrypt", api.P{"CiphertextBlob": sealed.EncryptedDataKey}).Text("Plaintext")
	block := steps.Must(aes.NewCipher(cases.Decode(dataKey)))
	t.Equal(prefix, "cipher-kms-aes-"+map[int]string{16: "128", 32: "256"}[len(cases.Decode(dataKey))]+"-")
	blob := steps.Must(base64.StdEncoding.DecodeString(sealed.Content))
	for at := 0; at < len(blob); at += block.BlockSize() {
		block.Decrypt(blob[at:], blob[at:])
	}
	t.Equal(string(blob[:len(content)]), content)
	read(t, config, sealed)
}

// The official Go SDKs of a KMS instance: the instance SDK, and the transfer SDK, which sends some calls
// of the public API's classes to the instance.
package main

import (
	"encoding/json"
	"errors"
	"hash"

	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"

	crand "crypto/rand"

	"github.com/alibabacloud-go/tea/tea"
	"github.com/aliyun/alibaba-cloud-sdk-go/sdk"
	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/auth/credentials"
	openapi "github.com/aliyun/alibabacloud-dkms-gcs-go-sdk/openapi"
	dkms "github.com/aliyun/alibabacloud-dkms-gcs-go-sdk/sdk"
	transfer "github.com/aliyun/alibabacloud-dkms-transfer-go-sdk/sdk"

	"hsmgate.test/older"
	"hsmgate.test/support/api"
	"hsmgate.test/support/cases"
	"hsmgate.test/support/steps"
	"hsmgate.test/support/verify"
)

func main() {
	seen := api.NewSeen()
	for _, gateway := range []steps.Gateway{steps.Plain(), steps.TLS()} {
		rig := &rig{
			Gateway: gateway,
			Public:  older.Variant(gateway.Scheme(), gateway, older.Way{Method: "POST", Format: "JSON"}, api.NewSeen()),
			Seen:    seen,
		}
		rig.step("a-client-key-of-the-api-opens-the-instance", func(t *steps.T) {
			rig.Key = rig.Public.NewClientKey(t)
			rig.Instance = rig.connect(t, rig.Key)
			plaintext := []byte("sealed by name \x00\xff")
			sealed := rig.Instance.Must(t, "Encrypt", api.P{"KeyId": gateway.Alias, "Plaintext": plaintext})
			t.Equal(sealed.Text("KeyId"), gateway.KeyID)
			t.Equal(sealed.Text("Algorithm"), "AES_GCM")
			t.Bytes(rig.open(t, "Decrypt", sealed, nil), plaintext)
		})
		rig.sealing()
		rig.dataKeys()
		rig.keyPairs()
		rig.signing()
		rig.refusals()
		rig.transfer()
		rig.secrets()
		if gateway.CAFile != "" {
			rig.files()
			rig.complete()
		}
	}
	steps.End()
}

type rig struct {
	Gateway  steps.Gateway
	Public   *cases.Variant
	Key      cases.ClientKey
	Instance *api.Client
	Seen     *api.Seen
}

func (r *rig) step(name string, step func(t *steps.T)) { steps.Step(r.Public.Name+"-"+name, step) }

// config is what a program sets: address, scheme, client key and CA.
func (r *rig) config(key cases.ClientKey) *openapi.Config {
	config := &openapi.Config{
		Endpoint: tea.String(r.Gateway.Address()), Protocol: tea.String(r.Gateway.Scheme()),
		ClientKeyContent: tea.String(key.Content), Password: tea.String(key.Password),
	}
	if r.Gateway.CAFile != "" {
		config.Ca = tea.String(r.Gateway.CA())
	}
	return config
}

func (r *rig) connect(t *steps.T, key cases.ClientKey) *api.Client {
	return r.client(steps.Must(dkms.NewClient(r.config(key))))
}

func (r *rig) client(client *dkms.Client) *api.Client {
	return &api.Client{
		SDK: client, Seen: r.Seen, Refusal: refusal, Answer: func(response any) any { return response },
	}
}

// refusal reads the error type of the instance SDK, which keeps status and request id in its data.
func refusal(err error) *api.Refusal {
	var failed *tea.SDKError
	if !errors.As(err, &failed) || failed.Data == nil {
		return nil
	}
	var data struct {
		HTTPCode  int    `json:"httpCode"`
		RequestID string `json:"requestId"`
	}
	if json.Unmarshal([]byte(*failed.Data), &data) != nil || data.HTTPCode == 0 {
		return nil
	}
	return &api.Refusal{
		Code: tea.StringValue(failed.Code), Status: data.HTTPCode, Message: tea.StringValue(failed.Message),
		RequestID: data.RequestID,
	}
}

// open gives the plaintext of an answer to Encrypt or a data key.
func (r *rig) open(t *steps.T, action string, sealed api.Answer, aad []byte) []byte {
	return r.Instance.Must(t, action, api.P{
		"KeyId": sealed.Text("KeyId"), "CiphertextBlob": sealed.Bytes("CiphertextBlob"),
		"Iv": sealed.Bytes("Iv"), "Algorithm": sealed.Text("Algorithm"), "Aad": aad,
	}).Bytes("Plaintext")
}

// openFramed opens what an Advance call has sealed, which names its key itself.
func (r *rig) openFramed(t *steps.T, sealed api.Answer, aad []byte) []byte {
	return r.Instance.Must(t, "AdvanceDecrypt",
		api.P{"CiphertextBlob": sealed.Bytes("CiphertextBlob"), "Aad": aad}).Bytes("Plaintext")
}

func (r *rig) sealing() {
	plaintext, aad := []byte("attack at dawn \x00\xff"), []byte("for the shop \xff")
	r.step("plain-and-advance-calls-open-each-other", func(t *steps.T) {
		for _, aad := range [][]byte{nil, aad} {
			plain := r.Instance.Must(t, "Encrypt",
				api.P{"KeyId": r.Gateway.KeyID, "Plaintext": plaintext, "Aad": aad})
			t.Equal(len(plain.Bytes("Iv")), 12)
			t.Equal(len(plain.Bytes("CiphertextBlob")), len(plaintext)+16)
			t.Bytes(r.open(t, "Decrypt", plain, aad), plaintext)
			t.Bytes(r.open(t, "AdvanceDecrypt", plain, aad), plaintext)
			framed := r.Instance.Must(t, "AdvanceEncrypt",
				api.P{"KeyId": r.Gateway.KeyID, "Plaintext": plaintext, "Aad": aad})
			blob := framed.Bytes("CiphertextBlob")
			t.Equal(string(blob[3:39]), framed.Text("KeyVersionId"))
			t.Bytes(r.openFramed(t, framed, aad), plaintext)
			// Without its first three bytes a frame is a blob of the public API.
			public := r.Public.Must(t, "Encrypt",
				api.P{"KeyId": r.Gateway.KeyID, "Plaintext": cases.Encode(plaintext)}).Text("CiphertextBlob")
			opened := r.Instance.Must(t, "AdvanceDecrypt",
				api.P{"CiphertextBlob": append([]byte{blob[0], blob[1], blob[2]}, cases.Decode(public)...)})
			t.Equal(string(opened.Bytes("Plaintext")), cases.Encode(plaintext))
		}
	})
	r.step("a-changed-ciphertext-iv-or-aad-does-not-open", func(t *steps.T) {
		sealed := r.Instance.Must(t, "Encrypt", api.P{"KeyId": r.Gateway.KeyID, "Plaintext": plaintext, "Aad": aad})
		good := api.P{
			"KeyId": r.Gateway.KeyID, "CiphertextBlob": sealed.Bytes("CiphertextBlob"),
			"Iv": sealed.Bytes("Iv"), "Aad": aad,
		}
		messages := map[string]bool{}
		for _, change := range []api.P{
			{"Aad": []byte("other")}, {"CiphertextBlob": flipped(sealed.Bytes("CiphertextBlob"))},
			{"Iv": flipped(sealed.Bytes("Iv"))}, {"KeyId": r.Public.NewKey(t, nil)},
		} {
			for _, action := range []string{"Decrypt", "AdvanceDecrypt"} {
				refusal := r.Instance.Refused(t, 400, "InvalidParameter", action, cases.With(good, change))
				messages[refusal.Message] = true
			}
		}
		t.Equal(len(messages), 1)
	})
	r.step("plain-calls-keep-the-first-version-and-advance-calls-rotate", func(t *steps.T) {
		key := r.Public.NewKey(t, nil)
		before := r.Instance.Must(t, "AdvanceEncrypt", api.P{"KeyId": key, "Plaintext": plaintext})
		data := r.Instance.Must(t, "GenerateDataKey", api.P{"KeyId": key, "NumberOfBytes": 32})
		young := r.Public.Must(t, "CreateKeyVersion", api.P{"KeyId": key}).Text("KeyVersion", "KeyVersionId")
		after := r.Instance.Must(t, "AdvanceEncrypt", api.P{"KeyId": key, "Plaintext": plaintext})
		t.Equal(after.Text("KeyVersionId"), young)
		t.True(before.Text("KeyVersionId") != young, "the version is the same")
		t.Bytes(r.openFramed(t, before, nil), plaintext)
		t.Bytes(r.openFramed(t, after, nil), plaintext)
		t.Bytes(r.open(t, "Decrypt", data, nil), data.Bytes("Plaintext"))
	})
}

func flipped(bytes []byte) []byte {
	changed := append([]byte{}, bytes...)
	changed[0] ^= 1
	return changed
}

func (r *rig) dataKeys() {
	r.step("data-keys-have-their-size-and-open", func(t *steps.T) {
		aad := []byte("aad")
		for _, size := range []int{1, 24, 32, 1024} {
			asked := api.P{"KeyId": r.Gateway.Alias, "NumberOfBytes": size, "Aad": aad}
			plain := r.Instance.Must(t, "GenerateDataKey", asked)
			t.Equal(len(plain.Bytes("Plaintext")), size)
			t.Bytes(r.open(t, "Decrypt", plain, aad), plain.Bytes("Plaintext"))
			framed := r.Instance.Must(t, "AdvanceGenerateDataKey", asked)
			t.Equal(len(framed.Bytes("Plaintext")), size)
			t.Bytes(r.openFramed(t, framed, aad), framed.Bytes("Plaintext"))
		}
		r.Instance.Refused(t, 400, "InvalidParameter", "GenerateDataKey",
			api.P{"KeyId": r.Gateway.KeyID, "NumberOfBytes": 1025})
	})
	r.step("random-bytes-are-as-many-as-asked-for", func(t *steps.T) {
		seen := map[string]bool{}
		for _, size := range []int{32, 32, 64} {
			random := r.Instance.Must(t, "GenerateRandom", api.P{"Length": size}).Bytes("Random")
			t.Equal(len(random), size)
			seen[string(random)] = true
		}
		t.Equal(len(seen), 3)
		r.Instance.Refused(t, 400, "InvalidParameter", "GenerateRandom", api.P{"Length": 65})
	})
}

func (r *rig) keyPairs() {
	specs := map[string]string{"rsa-2048": "RSA_2048", "ec-p256": "EC_P256", "ec-p256k": "EC_P256K"}
	for name, spec := range specs {
		r.step("a-data-key-pair-of-"+name+"-belongs-together", func(t *steps.T) {
			for _, format := range []string{"PEM", "DER"} {
				asked := api.P{"KeyId": r.Gateway.KeyID, "KeyPairSpec": spec, "KeyFormat": format}
				plain := r.Instance.Must(t, "GenerateDataKeyPair", asked)
				t.Equal(plain.Text("KeyPairSpec"), spec)
				private := plain.Bytes("PrivateKeyPlaintext")
				t.Bytes(r.openPair(t, plain), private)
				belong(t, spec, format, private, plain.Bytes("PublicKey"))
				framed := r.Instance.Must(t, "AdvanceGenerateDataKeyPair", asked)
				opened := r.openFramedPair(t, framed)
				t.Bytes(opened, framed.Bytes("PrivateKeyPlaintext"))
				belong(t, spec, format, opened, framed.Bytes("PublicKey"))
				without := r.Instance.Must(t, "GenerateDataKeyPairWithoutPlaintext", asked)
				belong(t, spec, format, r.openPair(t, without), without.Bytes("PublicKey"))
				without = r.Instance.Must(t, "AdvanceGenerateDataKeyPairWithoutPlaintext", asked)
				belong(t, spec, format, r.openFramedPair(t, without), without.Bytes("PublicKey"))
			}
		})
	}
}

func (r *rig) openPair(t *steps.T, made api.Answer) []byte {
	return r.Instance.Must(t, "Decrypt", api.P{
		"KeyId": made.Text("KeyId"), "CiphertextBlob": made.Bytes("PrivateKeyCiphertextBlob"), "Iv": made.Bytes("Iv"),
	}).Bytes("Plaintext")
}

func (r *rig) openFramedPair(t *steps.T, made api.Answer) []byte {
	return r.Instance.Must(t, "AdvanceDecrypt",
		api.P{"CiphertextBlob": made.Bytes("PrivateKeyCiphertextBlob")}).Bytes("Plaintext")
}

// belong wants a private and a public half of one pair. Go's library does not know secp256k1; there the
// public half must stand in the private one.
func belong(t *steps.T, spec, format string, private, public []byte) {
	if format == "PEM" {
		private, public = unarmoured(t, private, "PRIVATE KEY"), unarmoured(t, public, "PUBLIC KEY")
	}
	if spec == "EC_P256K" {
		point := public[len(public)-64:]
		t.Bytes(private[len(private)-64:], point)
		return
	}
	of := steps.Must(x509.ParsePKCS8PrivateKey(private))
	switch of := of.(type) {
	case *rsa.PrivateKey:
		t.Equal(of.N.BitLen(), 2048)
		t.Bytes(steps.Must(x509.MarshalPKIXPublicKey(&of.PublicKey)), public)
	case *ecdsa.PrivateKey:
		t.Bytes(steps.Must(x509.MarshalPKIXPublicKey(&of.PublicKey)), public)
	default:
		t.Fail("another key: %T", of)
	}
}

func unarmoured(t *steps.T, text []byte, kind string) []byte {
	block, _ := pem.Decode(text)
	t.True(block != nil && block.Type == kind, "no %s in PEM", kind)
	return block.Bytes
}

func (r *rig) signing() {
	message := []byte("attack at dawn")
	digest := sha256.Sum256(message)
	ways := []struct{ name, spec, algorithm, standard string }{
		{"rsa-pss", "RSA_2048", "RSA_PSS_SHA_256", "RSA_PSS_SHA_256"},
		{"rsa-pkcs1", "RSA_2048", "RSA_PKCS1_SHA_256", ""},
		{"ec-p256", "EC_P256", "ECDSA_SHA_256", "ECDSA_SHA_256"},
		{"ec-p256k", "EC_P256K", "ECDSA_SHA_256", "ECDSA_SHA_256"},
	}
	for _, way := range ways {
		r.step("go-verifies-what-the-instance-signs-with-"+way.name, func(t *steps.T) {
			key := r.Public.NewPair(t, way.spec, "SIGN/VERIFY")["KeyId"]
			public := r.Instance.Must(t, "GetPublicKey", api.P{"KeyId": key}).Text("PublicKey")
			forms := []api.P{
				{"Message": message, "MessageType": "RAW", "Algorithm": way.algorithm},
				{"Message": digest[:], "MessageType": "DIGEST", "Algorithm": way.algorithm},
			}
			if way.standard != "" {
				// Without an algorithm it is the one of the key, and the answer names it.
				forms = append(forms, api.P{"Message": message, "MessageType": "RAW"})
			}
			for _, form := range forms {
				asked := cases.With(form, api.P{"KeyId": key})
				signed := r.Instance.Must(t, "Sign", asked)
				t.Equal(signed.Text("Algorithm"), way.algorithm)
				t.Equal(signed.Text("MessageType"), form["MessageType"])
				signature := signed.Bytes("Signature")
				t.OK(verify.Signature(public, way.algorithm, digest[:], signature))
				judged := r.Instance.Must(t, "Verify", cases.With(asked, api.P{"Signature": signature}))
				t.Equal(judged.Text("Value"), true)
				other := cases.With(asked, api.P{"Signature": signature, "Message": flipped(form["Message"].([]byte))})
				t.Equal(r.Instance.Must(t, "Verify", other).Text("Value"), false)
			}
		})
	}
	for name, algorithm := range map[string]string{"sha-256": "RSAES_OAEP_SHA_256", "sha-1": "RSAES_OAEP_SHA_1"} {
		r.step("a-pair-opens-what-go-seals-with-oaep-"+name, func(t *steps.T) {
			key := r.Public.NewPair(t, "RSA_2048", "ENCRYPT/DECRYPT")["KeyId"]
			public := steps.Must(verify.RSA(r.Instance.Must(t, "GetPublicKey", api.P{"KeyId": key}).Text("PublicKey")))
			data := cases.Random(100)
			var digest hash.Hash = sha1.New()
			if algorithm == "RSAES_OAEP_SHA_256" {
				digest = sha256.New()
			}
			outside := steps.Must(rsa.EncryptOAEP(digest, crand.Reader, public, data, nil))
			asked := api.P{"KeyId": key, "Algorithm": algorithm}
			inside := r.Instance.Must(t, "Encrypt", cases.With(asked, api.P{"Plaintext": data})).Bytes("CiphertextBlob")
			for _, blob := range [][]byte{outside, inside} {
				opened := r.Instance.Must(t, "Decrypt", cases.With(asked, api.P{"CiphertextBlob": blob}))
				t.Bytes(opened.Bytes("Plaintext"), data)
			}
		})
	}
}

func (r *rig) refusals() {
	r.step("the-instance-refuses-as-the-cloud-does", func(t *steps.T) {
		sealed := api.P{"Plaintext": []byte("x")}
		r.Instance.Refused(t, 404, "Forbidden.KeyNotFound", "Encrypt", cases.With(sealed, api.P{"KeyId": "alias/none"}))
		r.Instance.Refused(t, 404, "Forbidden.KeyNotFound", "Encrypt",
			cases.With(sealed, api.P{"KeyId": "key-does-not-exist"}))
		key := r.Public.NewKey(t, nil)
		r.Public.Must(t, "DisableKey", api.P{"KeyId": key})
		r.Instance.Refused(t, 409, "Rejected.Disabled", "Encrypt", cases.With(sealed, api.P{"KeyId": key}))
		r.Instance.Refused(t, 403, "Forbidden.NoPermission", "GetSecretValue", api.P{"SecretName": "password"})
	})
	r.step("a-client-key-reaches-its-own-keys-only", func(t *steps.T) {
		own := r.Public.NewKey(t, nil)
		limited := r.connect(t, r.Public.NewClientKey(t, own))
		sealed := limited.Must(t, "Encrypt", api.P{"KeyId": own, "Plaintext": []byte("mine")})
		t.Bytes(r.open(t, "Decrypt", sealed, nil), []byte("mine"))
		limited.Refused(t, 403, "Forbidden.NoPermission", "Encrypt",
			api.P{"KeyId": r.Gateway.KeyID, "Plaintext": []byte("x")})
	})
	r.step("a-wrong-password-and-a-deleted-client-key-open-nothing", func(t *steps.T) {
		key := r.Public.NewClientKey(t)
		wrong := key
		wrong.Password = "Opens-it_2"
		_, err := dkms.NewClient(r.config(wrong))
		t.True(err != nil, "the SDK opens the client key with another password")
		client := r.connect(t, key)
		client.Must(t, "GenerateRandom", api.P{"Length": 8})
		r.Public.Must(t, "DeleteClientKey", api.P{"ClientKeyId": key.ID})
		client.Refused(t, 404, "Unauthorized", "GenerateRandom", api.P{"Length": 8})
	})
}

// transfer holds the transfer SDK to what it promises: a program keeps its code, and what the instance
// has sealed opens through the public API, and the other way round.
func (r *rig) transfer() {
	connect := func(t *steps.T, key cases.ClientKey) *api.Client {
		public := r.Public.SDK.(interface{ GetConfig() *sdk.Config })
		config := r.config(key)
		config.Ca = nil
		accessKey := credentials.NewAccessKeyCredential(r.Gateway.AccessKeyID, r.Gateway.AccessKeySecret)
		client := steps.Must(transfer.NewClientWithOptions(r.Gateway.Region, public.GetConfig(), accessKey, config))
		client.Domain = r.Gateway.Address()
		if r.Gateway.CAFile != "" {
			client.SetVerify(r.Gateway.CA())
		}
		return &api.Client{
			SDK: client, Seen: api.NewSeen(), Refusal: older.Refusal,
			Request: older.Prepare(older.Way{Method: "POST", Format: "JSON"}),
			Answer:  func(response any) any { return response },
		}
	}
	var client *api.Client
	contexts := []map[string]string{{}, {"tenant": "blue", "город": "杭州"}}
	r.step("the-transfer-sdk-and-the-public-api-open-each-other", func(t *steps.T) {
		client = connect(t, r.Key)
		key := r.Public.NewKey(t, nil)
		plaintext := cases.Encode(cases.Random(100))
		both := []*api.Client{client, r.Public.Client}
		for range 2 {
			for _, context := range contexts {
				for _, sealer := range both {
					asked := api.P{"KeyId": key, "Plaintext": plaintext}
					opening := api.P{}
					if len(context) > 0 {
						asked["EncryptionContext"], opening["EncryptionContext"] = context, context
					}
					sealed := sealer.Must(t, "Encrypt", asked)
					data := sealer.Must(t, "GenerateDataKey", cases.With(opening, api.P{"KeyId": key, "KeySpec": "AES_128"}))
					t.Equal(len(cases.Decode(data.Text("Plaintext"))), 16)
					for _, opener := range both {
						opened := opener.Must(t, "Decrypt", cases.With(opening, api.P{"CiphertextBlob": sealed.Text("CiphertextBlob")}))
						t.Equal(opened.Text("Plaintext"), plaintext)
						t.Equal(opened.Text("KeyVersionId"), sealed.Text("KeyVersionId"))
						opened = opener.Must(t, "Decrypt", cases.With(opening, api.P{"CiphertextBlob": data.Text("CiphertextBlob")}))
						t.Equal(opened.Text("Plaintext"), data.Text("Plaintext"))
					}
				}
			}
			// Once more with a second version.
			r.Public.Must(t, "CreateKeyVersion", api.P{"KeyId": key})
		}
	})
	r.step("the-transfer-sdk-signs-and-seals-with-pairs", func(t *steps.T) {
		digest := sha256.Sum256([]byte("message"))
		for _, way := range [][2]string{
			{"RSA_2048", "RSA_PSS_SHA_256"}, {"RSA_2048", "RSA_PKCS1_SHA_256"}, {"EC_P256", "ECDSA_SHA_256"},
		} {
			asked := cases.With(r.Public.NewPair(t, way[0], "SIGN/VERIFY"), api.P{"Algorithm": way[1]})
			signed := client.Must(t, "AsymmetricSign", cases.With(asked, api.P{"Digest": cases.Encode(digest[:])}))
			named := api.P{"KeyId": asked["KeyId"], "KeyVersionId": asked["KeyVersionId"]}
			public := client.Must(t, "GetPublicKey", named).Text("PublicKey")
			t.OK(verify.Signature(public, way[1], digest[:], cases.Decode(signed.Text("Value"))))
			for _, judge := range []*api.Client{client, r.Public.Client} {
				judged := judge.Must(t, "AsymmetricVerify",
					cases.With(asked, api.P{"Digest": cases.Encode(digest[:]), "Value": signed.Text("Value")}))
				t.Equal(judged.Text("Value"), true)
			}
		}
		asked := cases.With(r.Public.NewPair(t, "RSA_2048", "ENCRYPT/DECRYPT"), api.P{"Algorithm": "RSAES_OAEP_SHA_256"})
		data := cases.Encode(cases.Random(190))
		sealed := client.Must(t, "AsymmetricEncrypt", cases.With(asked, api.P{"Plaintext": data}))
		for _, opener := range []*api.Client{client, r.Public.Client} {
			opened := opener.Must(t, "AsymmetricDecrypt",
				cases.With(asked, api.P{"CiphertextBlob": sealed.Text("CiphertextBlob")}))
			t.Equal(opened.Text("Plaintext"), data)
		}
	})
	r.step("the-transfer-sdk-takes-a-plaintext-that-is-no-base64", func(t *steps.T) {
		sealed := client.Must(t, "Encrypt", api.P{"KeyId": r.Gateway.Alias, "Plaintext": "YourPassword1234!"})
		for _, opener := range []*api.Client{client, r.Public.Client} {
			opened := opener.Must(t, "Decrypt", api.P{"CiphertextBlob": sealed.Text("CiphertextBlob")})
			t.Equal(opened.Text("Plaintext"), "YourPassword1234!")
		}
	})
	r.step("the-transfer-sdk-shows-refusals-as-the-public-api-does", func(t *steps.T) {
		asked := api.P{"KeyId": "alias/none", "Plaintext": cases.Encode([]byte("x"))}
		client.Refused(t, 404, "Forbidden.KeyNotFound", "Encrypt", asked)
		client.Refused(t, 403, "Forbidden.NoPermission", "GetSecretValue", api.P{"SecretName": "none"})
		key := r.Public.NewClientKey(t)
		revoked := connect(t, key)
		r.Public.Must(t, "DeleteClientKey", api.P{"ClientKeyId": key.ID})
		revoked.Refused(t, 404, "InvalidAccessKeyId.NotFound", "Encrypt",
			api.P{"KeyId": r.Gateway.Alias, "Plaintext": cases.Encode([]byte("x"))})
		// What the instance does not know goes to the public API.
		made := client.Must(t, "CreateKey", nil).Text("KeyMetadata", "KeyId")
		t.Equal(client.Must(t, "DescribeKey", api.P{"KeyId": made}).Text("KeyMetadata", "KeyState"), "Enabled")
	})
}

// secrets are read by a client key whose access point allows them.
func (r *rig) secrets() {
	r.step("every-value-of-a-secret-comes-back", func(t *steps.T) {
		reader := r.connect(t, r.Public.NewSecretReader(t, "secret/read/*"))
		for name, value := range cases.SecretValues {
			secret := r.Public.NewSecret(t, value.Text, api.P{"SecretName": "read/" + cases.Unique("go")})
			read := reader.Must(t, "GetSecretValue", api.P{"SecretName": secret})
			t.True(read.Text("SecretData") == value.Text, "%s is another value", name)
			t.Equal(read.List("VersionStages")[0].Text(), "ACSCurrent")
		}
		reader.Refused(t, 404, "Forbidden.ResourceNotFound", "GetSecretValue", api.P{"SecretName": "read/none"})
		reader.Refused(t, 403, "Forbidden.NoPermission", "GetSecretValue", api.P{"SecretName": "other"})
	})
}

// files takes the client key and the CA from the files that `hsmgate dev --tls` prints.
func (r *rig) files() {
	r.step("the-files-of-dev-are-taken-as-they-are", func(t *steps.T) {
		client := r.client(steps.Must(dkms.NewClient(&openapi.Config{
			Endpoint: tea.String(r.Gateway.Endpoint), Protocol: tea.String("https"),
			ClientKeyFile: tea.String(r.Gateway.ClientKeyFile), Password: tea.String(r.Gateway.ClientKeyPassword()),
			CaFilePath: tea.String(r.Gateway.CAFile),
		})))
		sealed := client.Must(t, "Encrypt", api.P{"KeyId": r.Gateway.Alias, "Plaintext": []byte("x")})
		t.Bytes(r.open(t, "Decrypt", sealed, nil), []byte("x"))
	})
}

// complete wants every operation and every field of the SDK, but the headers, which a program asks for.
func (r *rig) complete() {
	absent := map[string]string{}
	for _, action := range r.Instance.Operations() {
		absent[action+".Headers"] = "a header is in the answer if the request names it"
	}
	cases.Complete(&cases.Variant{Client: r.Instance, Name: "instance", Gateway: r.Gateway}, absent)
}

package cases

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/json"
	"hash"
	"strings"

	"hsmgate.test/support/api"
	"hsmgate.test/support/steps"
	"hsmgate.test/support/verify"
)

// context has pairs that sort differently by bytes and by letters, an empty value, and signs that
// separate others in queries.
var context = map[string]string{
	"tenant": "blue", "Zone": "a&b=c+d %2F*~", "город": "杭州", "empty": "", "日本": "ключ \U0001F511",
}

// The longest plaintext (Encrypt), in bytes.
const longest = 6144

func encryption(v *Variant) {
	v.step("encrypts-by-id-alias-and-arn", nil, func(t *steps.T) {
		gateway := v.Gateway
		plaintext := []byte("\x00 a secret, как есть \xff")
		names := []string{
			gateway.KeyID, gateway.Alias, v.arn("key/" + gateway.KeyID), v.arn(gateway.Alias),
		}
		for _, name := range names {
			sealed := v.encrypt(t, name, plaintext, nil)
			t.Equal(sealed.Text("KeyId"), gateway.KeyID)
			blob := sealed.Text("CiphertextBlob")
			t.True(bytes.HasPrefix(decode(blob), []byte(sealed.Text("KeyVersionId"))), "no version in front")
			opened := v.Must(t, "Decrypt", api.P{"CiphertextBlob": blob})
			t.Equal(opened.Text("KeyId"), gateway.KeyID)
			t.Equal(opened.Text("KeyVersionId"), sealed.Text("KeyVersionId"))
			t.Bytes(decode(opened.Text("Plaintext")), plaintext)
		}
	})
	v.step("a-context-goes-in-any-order-and-script", nil, func(t *steps.T) {
		plaintext := random(40)
		sealed := v.encrypt(t, v.Gateway.Alias, plaintext, context).Text("CiphertextBlob")
		// Go's maps have no order; as a text the pairs have one.
		v.opensTo(t, sealed, context, plaintext)
	})
	v.step("another-context-does-not-open", nil, func(t *steps.T) {
		sealed := v.encrypt(t, v.Gateway.Alias, []byte("x"), context).Text("CiphertextBlob")
		others := []map[string]string{nil, {}, {"tenant": "blue"}}
		for name := range context {
			changed, without := copied(context), copied(context)
			changed[name] += "!"
			delete(without, name)
			others = append(others, changed, without)
		}
		for _, other := range others {
			v.Refused(t, 400, "InvalidParameter", "Decrypt",
				api.P{"CiphertextBlob": sealed, "EncryptionContext": other})
		}
		bare := v.encrypt(t, v.Gateway.Alias, []byte("x"), nil).Text("CiphertextBlob")
		v.Refused(t, 400, "InvalidParameter", "Decrypt",
			api.P{"CiphertextBlob": bare, "EncryptionContext": context})
	})
	v.step("the-longest-plaintext-fits-and-one-byte-more-does-not", nil, func(t *steps.T) {
		// Every byte, so that the query holds every sign of Base64.
		plaintext := random(longest)
		v.opensTo(t, v.encrypt(t, v.Gateway.KeyID, plaintext, context).Text("CiphertextBlob"), context, plaintext)
		v.refusedByName(t, "Plaintext", "Encrypt",
			api.P{"KeyId": v.Gateway.KeyID, "Plaintext": encode(random(longest + 1))})
	})
	v.step("equal-plaintexts-have-different-ciphertexts", nil, func(t *steps.T) {
		seen := map[string]bool{}
		for range 5 {
			seen[v.encrypt(t, v.Gateway.KeyID, []byte("same"), nil).Text("CiphertextBlob")] = true
		}
		t.Equal(len(seen), 5)
	})
	v.step("a-changed-ciphertext-does-not-open", nil, func(t *steps.T) {
		blob := decode(v.encrypt(t, v.Gateway.KeyID, []byte("text"), nil).Text("CiphertextBlob"))
		for _, at := range []int{36, 48, len(blob) - 1} {
			changed := bytes.Clone(blob)
			changed[at] ^= 1
			v.Refused(t, 400, "InvalidParameter", "Decrypt", api.P{"CiphertextBlob": encode(changed)})
		}
		v.Refused(t, 400, "InvalidParameter", "Decrypt", api.P{"CiphertextBlob": encode(blob[:60])})
		v.Refused(t, 400, "InvalidParameter", "Decrypt", api.P{"CiphertextBlob": "no Base64!"})
	})
	v.step("keys-of-other-aes-sizes-encrypt", nil, func(t *steps.T) {
		for _, spec := range []string{"Aliyun_AES_128", "Aliyun_AES_192"} {
			key := v.newKey(t, api.P{"KeySpec": spec})
			t.Equal(v.metadata(t, key).Text("KeySpec"), spec)
			v.opensTo(t, v.encrypt(t, key, []byte(spec), context).Text("CiphertextBlob"), context, []byte(spec))
		}
	})
	v.step("reencrypt-moves-to-another-key-and-context", needs("ReEncrypt"), func(t *steps.T) {
		plaintext, other := random(50), v.newKey(t, nil)
		sealed := v.encrypt(t, v.Gateway.KeyID, plaintext, context)
		moved := v.Must(t, "ReEncrypt", api.P{
			"CiphertextBlob": sealed.Text("CiphertextBlob"), "SourceEncryptionContext": context,
			"DestinationKeyId": other, "DestinationEncryptionContext": map[string]string{"to": "Ω"},
		})
		// The answer names the key that opened.
		t.Equal(moved.Text("KeyId"), v.Gateway.KeyID)
		t.Equal(moved.Text("KeyVersionId"), sealed.Text("KeyVersionId"))
		opened := v.Must(t, "Decrypt", api.P{
			"CiphertextBlob": moved.Text("CiphertextBlob"), "EncryptionContext": map[string]string{"to": "Ω"},
		})
		t.Equal(opened.Text("KeyId"), other)
		t.Bytes(decode(opened.Text("Plaintext")), plaintext)
		v.Refused(t, 400, "InvalidParameter", "ReEncrypt", api.P{
			"CiphertextBlob": sealed.Text("CiphertextBlob"), "DestinationKeyId": other,
		})
	})
	v.step("reencrypt-opens-what-was-sealed-outside-for-a-pair", needs("ReEncrypt"), func(t *steps.T) {
		pair := v.newPair(t, "RSA_2048", "ENCRYPT/DECRYPT")
		data := random(32)
		blob := sealOAEP(v.publicRSA(t, pair), "RSAES_OAEP_SHA_256", data)
		moved := v.Must(t, "ReEncrypt", api.P{
			"CiphertextBlob": encode(blob), "SourceKeyId": pair["KeyId"],
			"SourceKeyVersionId": pair["KeyVersionId"], "SourceEncryptionAlgorithm": "RSAES_OAEP_SHA_256",
			"DestinationKeyId": v.Gateway.KeyID,
		})
		t.Equal(moved.Text("KeyId"), pair["KeyId"])
		v.opensTo(t, moved.Text("CiphertextBlob"), nil, data)
	})
}

func copied(from map[string]string) map[string]string {
	to := map[string]string{}
	for name, value := range from {
		to[name] = value
	}
	return to
}

func dataKeys(v *Variant) {
	sizes := []struct {
		size   int
		wanted api.P
	}{
		{32, api.P{}}, {16, api.P{"KeySpec": "AES_128"}}, {32, api.P{"KeySpec": "AES_256"}},
		{1, api.P{"NumberOfBytes": 1}}, {1024, api.P{"NumberOfBytes": 1024, "KeySpec": "AES_128"}},
	}
	v.step("a-data-key-has-the-size-asked-for", nil, func(t *steps.T) {
		for _, size := range sizes {
			parameters := with(size.wanted, api.P{"KeyId": v.Gateway.Alias, "EncryptionContext": context})
			made := v.Must(t, "GenerateDataKey", parameters)
			plaintext := decode(made.Text("Plaintext"))
			t.Equal(len(plaintext), size.size)
			t.Equal(made.Text("KeyId"), v.Gateway.KeyID)
			v.opensTo(t, made.Text("CiphertextBlob"), context, plaintext)
		}
		for _, size := range []int{-1, 1025} {
			v.refusedByName(t, "NumberOfBytes", "GenerateDataKey",
				api.P{"KeyId": v.Gateway.KeyID, "NumberOfBytes": size})
		}
		v.refusedByName(t, "KeySpec", "GenerateDataKey", api.P{"KeyId": v.Gateway.KeyID, "KeySpec": "AES_512"})
	})
	v.step("a-data-key-without-plaintext-has-the-size-asked-for", nil, func(t *steps.T) {
		for _, size := range sizes {
			made := v.Must(t, "GenerateDataKeyWithoutPlaintext", with(size.wanted, api.P{"KeyId": v.Gateway.KeyID}))
			t.Equal(len(v.decrypt(t, made.Text("CiphertextBlob"), nil)), size.size)
		}
	})
	exporting := needs("GenerateAndExportDataKey", "ExportDataKey")
	v.step("a-data-key-is-exported-to-a-key-of-the-program", exporting, func(t *steps.T) {
		recipient := steps.Must(rsa.GenerateKey(rand.Reader, 2048))
		public := encode(steps.Must(x509.MarshalPKIXPublicKey(&recipient.PublicKey)))
		for _, algorithm := range []string{"RSAES_OAEP_SHA_256", "RSAES_OAEP_SHA_1"} {
			wrapped := api.P{
				"PublicKeyBlob": public, "WrappingKeySpec": "RSA_2048", "WrappingAlgorithm": algorithm,
				"EncryptionContext": context,
			}
			made := v.Must(t, "GenerateAndExportDataKey",
				with(wrapped, api.P{"KeyId": v.Gateway.Alias, "NumberOfBytes": 100}))
			key := openOAEP(recipient, algorithm, decode(made.Text("ExportedDataKey")))
			t.Equal(len(key), 100)
			v.opensTo(t, made.Text("CiphertextBlob"), context, key)
			again := v.Must(t, "ExportDataKey", with(wrapped, api.P{"CiphertextBlob": made.Text("CiphertextBlob")}))
			t.Equal(again.Text("KeyVersionId"), made.Text("KeyVersionId"))
			t.Bytes(openOAEP(recipient, algorithm, decode(again.Text("ExportedDataKey"))), key)
		}
	})
	v.step("a-data-key-too-long-for-its-wrapping-is-refused", exporting, func(t *steps.T) {
		recipient := steps.Must(rsa.GenerateKey(rand.Reader, 2048))
		v.refusedByName(t, "NumberOfBytes", "GenerateAndExportDataKey", api.P{
			"KeyId":         v.Gateway.KeyID,
			"PublicKeyBlob": encode(steps.Must(x509.MarshalPKIXPublicKey(&recipient.PublicKey))),
			"NumberOfBytes": 191, "WrappingKeySpec": "RSA_2048", "WrappingAlgorithm": "RSAES_OAEP_SHA_256",
		})
		v.refusedByName(t, "PublicKeyBlob", "GenerateAndExportDataKey", api.P{
			"KeyId": v.Gateway.KeyID, "PublicKeyBlob": encode([]byte("no key")),
			"WrappingKeySpec": "RSA_2048", "WrappingAlgorithm": "RSAES_OAEP_SHA_256",
		})
	})
}

func with(one, other api.P) api.P {
	both := api.P{}
	for _, parameters := range []api.P{one, other} {
		for name, value := range parameters {
			both[name] = value
		}
	}
	return both
}

// newPair makes a key pair, and gives the parameters that name it and its version.
func (v *Variant) newPair(t *steps.T, spec, usage string) api.P {
	key := v.newKey(t, api.P{"KeySpec": spec, "KeyUsage": usage})
	versions := v.Must(t, "ListKeyVersions", api.P{"KeyId": key}).List("KeyVersions", "KeyVersion")
	t.Equal(len(versions), 1)
	return api.P{"KeyId": key, "KeyVersionId": versions[0].Text("KeyVersionId")}
}

func (v *Variant) public(t *steps.T, pair api.P) string {
	answer := v.Must(t, "GetPublicKey", pair)
	t.Equal(answer.Text("KeyId"), pair["KeyId"])
	t.Equal(answer.Text("KeyVersionId"), pair["KeyVersionId"])
	return answer.Text("PublicKey")
}

func (v *Variant) publicRSA(t *steps.T, pair api.P) *rsa.PublicKey {
	return steps.Must(verify.RSA(v.public(t, pair)))
}

func oaep(algorithm string) hash.Hash {
	if algorithm == "RSAES_OAEP_SHA_256" {
		return sha256.New()
	}
	return sha1.New()
}

func sealOAEP(public *rsa.PublicKey, algorithm string, data []byte) []byte {
	return steps.Must(rsa.EncryptOAEP(oaep(algorithm), rand.Reader, public, data, nil))
}

func openOAEP(private *rsa.PrivateKey, algorithm string, data []byte) []byte {
	return steps.Must(rsa.DecryptOAEP(oaep(algorithm), nil, private, data, nil))
}

func pairs(v *Variant) {
	signing := []struct{ spec, algorithm string }{
		{"RSA_2048", "RSA_PSS_SHA_256"}, {"RSA_2048", "RSA_PKCS1_SHA_256"},
		{"RSA_3072", "RSA_PSS_SHA_256"}, {"RSA_4096", "RSA_PKCS1_SHA_256"},
		{"EC_P256", "ECDSA_SHA_256"}, {"EC_P256K", "ECDSA_SHA_256"},
	}
	made := map[string]api.P{}
	pair := func(t *steps.T, spec string) api.P {
		if made[spec] == nil {
			made[spec] = v.newPair(t, spec, "SIGN/VERIFY")
		}
		return made[spec]
	}
	for _, way := range signing {
		name := strings.NewReplacer("_", "-").Replace(strings.ToLower(way.spec + "-" + way.algorithm))
		v.step("go-verifies-"+name, nil, func(t *steps.T) {
			pair := pair(t, way.spec)
			digest := sha256.Sum256([]byte("attack at dawn"))
			asked := with(pair, api.P{"Algorithm": way.algorithm, "Digest": encode(digest[:])})
			signature := v.Must(t, "AsymmetricSign", asked).Text("Value")
			public := v.public(t, pair)
			t.OK(verify.Signature(public, way.algorithm, digest[:], decode(signature)))
			good := v.Must(t, "AsymmetricVerify", with(asked, api.P{"Value": signature}))
			t.Equal(good.Text("Value"), true)
			other := sha256.Sum256([]byte("attack at noon"))
			t.True(verify.Signature(public, way.algorithm, other[:], decode(signature)) != nil, "Go takes any digest")
			// A bad signature is false, and no error.
			bad := v.Must(t, "AsymmetricVerify", with(asked, api.P{"Value": signature, "Digest": encode(other[:])}))
			t.Equal(bad.Text("Value"), false)
		})
	}
	for _, algorithm := range []string{"RSAES_OAEP_SHA_256", "RSAES_OAEP_SHA_1"} {
		name := strings.ReplaceAll(strings.ToLower(algorithm), "_", "-")
		v.step("go-and-gateway-seal-with-"+name, nil, func(t *steps.T) {
			pair := v.newPair(t, "RSA_2048", "ENCRYPT/DECRYPT")
			public, data := v.publicRSA(t, pair), random(190)
			asked := with(pair, api.P{"Algorithm": algorithm})
			sealed := v.Must(t, "AsymmetricEncrypt", with(asked, api.P{"Plaintext": encode(data)}))
			for _, blob := range []string{sealed.Text("CiphertextBlob"), encode(sealOAEP(public, algorithm, data))} {
				opened := v.Must(t, "AsymmetricDecrypt", with(asked, api.P{"CiphertextBlob": blob}))
				t.Bytes(decode(opened.Text("Plaintext")), data)
				t.Equal(opened.Text("KeyVersionId"), pair["KeyVersionId"])
			}
			v.Refused(t, 400, "InvalidParameter", "AsymmetricDecrypt",
				with(asked, api.P{"CiphertextBlob": encode(random(256))}))
			v.refusedByName(t, "Plaintext", "AsymmetricEncrypt", with(asked, api.P{"Plaintext": encode(random(215))}))
		})
	}
	v.step("a-signature-by-another-algorithm-is-refused", nil, func(t *steps.T) {
		digest := sha256.Sum256(nil)
		asked := with(pair(t, "EC_P256"), api.P{"Digest": encode(digest[:])})
		v.Refused(t, 400, "Rejected.UnsupportedOperation", "AsymmetricSign",
			with(asked, api.P{"Algorithm": "RSA_PSS_SHA_256"}))
		v.refusedByName(t, "Algorithm", "AsymmetricSign", with(asked, api.P{"Algorithm": "ECDSA_SHA_512"}))
		v.refusedByName(t, "Digest", "AsymmetricSign",
			with(asked, api.P{"Algorithm": "ECDSA_SHA_256", "Digest": encode(digest[:31])}))
	})
	v.step("a-pair-is-no-symmetric-key-and-the-other-way-round", nil, func(t *steps.T) {
		v.Refused(t, 400, "Rejected.UnsupportedOperation", "Encrypt",
			api.P{"KeyId": pair(t, "EC_P256")["KeyId"], "Plaintext": encode([]byte("x"))})
		version := v.metadata(t, v.Gateway.KeyID).Text("PrimaryKeyVersion")
		v.Refused(t, 400, "Rejected.UnsupportedOperation", "GetPublicKey",
			api.P{"KeyId": v.Gateway.KeyID, "KeyVersionId": version})
	})
	v.step("each-version-of-a-pair-signs-for-itself", nil, func(t *steps.T) {
		old := v.newPair(t, "EC_P256", "SIGN/VERIFY")
		made := v.Must(t, "CreateKeyVersion", api.P{"KeyId": old["KeyId"]})
		young := with(old, api.P{"KeyVersionId": made.Text("KeyVersion", "KeyVersionId")})
		digest := sha256.Sum256([]byte("message"))
		for _, signer := range []api.P{old, young} {
			signed := v.Must(t, "AsymmetricSign",
				with(signer, api.P{"Algorithm": "ECDSA_SHA_256", "Digest": encode(digest[:])}))
			for _, judge := range []api.P{old, young} {
				err := verify.Signature(v.public(t, judge), "ECDSA_SHA_256", digest[:], decode(signed.Text("Value")))
				t.Equal(err == nil, judge["KeyVersionId"] == signer["KeyVersionId"])
			}
		}
		v.Refused(t, 404, "Forbidden.KeyVersionNotFound", "GetPublicKey",
			with(old, api.P{"KeyVersionId": pair(t, "EC_P256")["KeyVersionId"]}))
	})
}

func macs(v *Variant) {
	for name, hash := range map[string]func() hash.Hash{"256": sha256.New, "384": sha512.New384, "512": sha512.New} {
		v.step("a-mac-of-sha-"+name, needs("GenerateMac", "VerifyMac"), func(t *steps.T) {
			_ = hash
			key := v.newKey(t, api.P{"KeySpec": "HMAC_SHA_" + name, "KeyUsage": "GENERATE/VERIFY_MAC"})
			asked := api.P{"KeyId": key, "Algorithm": "HMAC_SHA_" + name, "Message": encode([]byte("message"))}
			mac := v.Must(t, "GenerateMac", asked).Text("Mac")
			t.Equal(len(decode(mac)), hmac.New(hash, nil).Size())
			t.Equal(v.Must(t, "VerifyMac", with(asked, api.P{"Mac": mac})).Text("Value"), true)
			other := with(asked, api.P{"Mac": mac, "Message": encode([]byte("massage"))})
			t.Equal(v.Must(t, "VerifyMac", other).Text("Value"), false)
		})
	}
}

func dryRun(v *Variant) {
	v.step("a-dry-run-always-ends-with-an-error", needs("Encrypt.DryRun", "ReEncrypt"), func(t *steps.T) {
		key := v.newKey(t, nil)
		blob := v.encrypt(t, key, []byte("x"), nil).Text("CiphertextBlob")
		dry := api.P{"DryRun": "true"}
		calls := map[string]api.P{
			"Encrypt":                         {"KeyId": key, "Plaintext": encode([]byte("x"))},
			"Decrypt":                         {"CiphertextBlob": blob},
			"ReEncrypt":                       {"CiphertextBlob": blob, "DestinationKeyId": key},
			"GenerateDataKey":                 {"KeyId": key},
			"GenerateDataKeyWithoutPlaintext": {"KeyId": key},
		}
		for action, parameters := range calls {
			v.Refused(t, 400, "DryRunOperationError", action, with(parameters, dry))
		}
		v.Must(t, "DisableKey", api.P{"KeyId": key})
		for action, parameters := range calls {
			v.Refused(t, 400, "ValidationError", action, with(parameters, dry))
		}
		v.Refused(t, 400, "ValidationError", "Encrypt",
			with(dry, api.P{"KeyId": v.Gateway.KeyID, "Plaintext": "no Base64!"}))
		done := v.Must(t, "Encrypt",
			api.P{"KeyId": v.Gateway.KeyID, "Plaintext": encode([]byte("x")), "DryRun": "false"})
		v.opensTo(t, done.Text("CiphertextBlob"), nil, []byte("x"))
	})
}

func mustJSON(value any) string { return string(steps.Must(json.Marshal(value))) }

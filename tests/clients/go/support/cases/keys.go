package cases

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"hsmgate.test/support/api"
	"hsmgate.test/support/steps"
)

// date reads a date of the API.
func date(t *steps.T, text string) time.Time {
	read, err := time.Parse("2006-01-02T15:04:05Z", text)
	t.OK(err)
	return read
}

// wrapping gets the parameters of an import, and gives them with a function that wraps material.
func (v *Variant) wrapping(t *steps.T, key, algorithm string) (api.P, func(material []byte) string) {
	got := v.Must(t, "GetParametersForImport",
		api.P{"KeyId": key, "WrappingAlgorithm": algorithm, "WrappingKeySpec": "RSA_2048"})
	t.Equal(got.Text("KeyId"), key)
	left := time.Until(date(t, got.Text("TokenExpireTime")))
	t.True(left > 23*time.Hour && left <= 24*time.Hour, "the token is good for %v", left)
	public := steps.Must(x509.ParsePKIXPublicKey(decode(got.Text("PublicKey")))).(*rsa.PublicKey)
	wrap := func(material []byte) string {
		if algorithm == "RSAES_PKCS1_V1_5" {
			return encode(steps.Must(rsa.EncryptPKCS1v15(rand.Reader, public, material)))
		}
		return encode(steps.Must(rsa.EncryptOAEP(sha1.New(), rand.Reader, public, material, nil)))
	}
	return api.P{"KeyId": key, "ImportToken": got.Text("ImportToken"), "KeyMaterialExpireUnix": 0}, wrap
}

func (v *Variant) bringIn(t *steps.T, key, algorithm string, material []byte) {
	parameters, wrap := v.wrapping(t, key, algorithm)
	v.Must(t, "ImportKeyMaterial", with(parameters, api.P{"EncryptedKeyMaterial": wrap(material)}))
}

func imports(v *Variant) {
	for _, algorithm := range []string{"RSAES_PKCS1_V1_5", "RSAES_OAEP_SHA_1"} {
		name := strings.ReplaceAll(strings.ToLower(algorithm), "_", "-")
		v.step("material-wrapped-in-go-comes-in-by-"+name, nil, func(t *steps.T) {
			key, material := v.newExternalKey(t), random(32)
			t.Equal(v.metadata(t, key).Text("KeyState"), "PendingImport")
			v.bringIn(t, key, algorithm, material)
			t.Equal(v.metadata(t, key).Text("KeyState"), "Enabled")
			context := map[string]string{"tenant": "blue", "город": "杭州", "empty": ""}
			sealed := v.encrypt(t, key, []byte("of the material"), context)
			// The material opens it here, in the published layout.
			version, opened := openBlob(material, decode(sealed.Text("CiphertextBlob")), context)
			t.Equal(version, sealed.Text("KeyVersionId"))
			t.Bytes(decode(opened), []byte("of the material"))
		})
	}
	v.step("deleted-material-comes-back-and-no-other", nil, func(t *steps.T) {
		key, material := v.newExternalKey(t), random(32)
		v.bringIn(t, key, "RSAES_OAEP_SHA_1", material)
		blob := v.encrypt(t, key, []byte("kept"), nil).Text("CiphertextBlob")
		v.Must(t, "DeleteKeyMaterial", api.P{"KeyId": key})
		t.Equal(v.metadata(t, key).Text("KeyState"), "PendingImport")
		v.Refused(t, 409, "Rejected.PendingImport", "Decrypt", api.P{"CiphertextBlob": blob})
		parameters, wrap := v.wrapping(t, key, "RSAES_OAEP_SHA_1")
		v.Refused(t, 400, "InvalidKeyMaterial", "ImportKeyMaterial",
			with(parameters, api.P{"EncryptedKeyMaterial": wrap(random(32))}))
		v.Must(t, "ImportKeyMaterial", with(parameters, api.P{"EncryptedKeyMaterial": wrap(material)}))
		v.opensTo(t, blob, nil, []byte("kept"))
	})
	v.step("material-has-a-date-and-a-length", nil, func(t *steps.T) {
		key := v.newExternalKey(t)
		parameters, wrap := v.wrapping(t, key, "RSAES_OAEP_SHA_1")
		v.Refused(t, 400, "InvalidKeyMaterial", "ImportKeyMaterial",
			with(parameters, api.P{"EncryptedKeyMaterial": wrap(random(16))}))
		v.refusedByName(t, "KeyMaterialExpireUnix", "ImportKeyMaterial",
			with(parameters, api.P{"EncryptedKeyMaterial": wrap(random(32)), "KeyMaterialExpireUnix": 1}))
		expires := time.Now().Add(time.Hour).Truncate(time.Second)
		v.Must(t, "ImportKeyMaterial", with(parameters, api.P{
			"EncryptedKeyMaterial": wrap(random(32)), "KeyMaterialExpireUnix": int(expires.Unix()),
		}))
		t.True(date(t, v.metadata(t, key).Text("MaterialExpireTime")).Equal(expires), "another date")
	})
	v.step("an-import-token-belongs-to-its-key", nil, func(t *steps.T) {
		parameters, wrap := v.wrapping(t, v.newExternalKey(t), "RSAES_OAEP_SHA_1")
		material := api.P{"EncryptedKeyMaterial": wrap(random(32))}
		v.Refused(t, 400, "InvalidImportToken", "ImportKeyMaterial",
			with(with(parameters, material), api.P{"KeyId": v.newExternalKey(t)}))
		v.Refused(t, 400, "Unsupported.Origin", "ImportKeyMaterial",
			with(with(parameters, material), api.P{"KeyId": v.Gateway.KeyID}))
	})
}

func tags(v *Variant) {
	rows := func(t *steps.T, key string) map[string]string {
		tags := map[string]string{}
		for _, row := range v.Must(t, "ListResourceTags", api.P{"KeyId": key}).List("Tags", "Tag") {
			t.Equal(row.Text("KeyId"), key)
			tags[row.Text("TagKey")] = row.Text("TagValue")
		}
		return tags
	}
	v.step("a-key-is-tagged-and-untagged", nil, func(t *steps.T) {
		key := v.newKey(t, nil)
		v.Must(t, "TagResource", api.P{"KeyId": key, "Tags": mustJSON([]map[string]string{
			{"TagKey": "team", "TagValue": "orders订单/1"}, {"TagKey": "stage", "TagValue": "test"},
		})})
		t.Equal(rows(t, key), map[string]string{"team": "orders订单/1", "stage": "test"})
		v.Must(t, "UntagResource", api.P{"KeyId": key, "TagKeys": `["team"]`})
		t.Equal(rows(t, key), map[string]string{"stage": "test"})
		v.refusedByName(t, "Tags", "TagResource", api.P{"KeyId": key, "Tags": "no JSON"})
	})
	v.step("a-key-is-made-with-tags", needs("CreateKey.Tags"), func(t *steps.T) {
		key := v.newKey(t, api.P{"Tags": `[{"TagKey":"team","TagValue":"orders"}]`})
		t.Equal(rows(t, key), map[string]string{"team": "orders"})
	})
	many := needs("TagResources", "UntagResources", "ListTagResources")
	v.step("several-keys-are-tagged-listed-and-untagged", many, func(t *steps.T) {
		keys := []string{v.newKey(t, nil), v.newKey(t, nil)}
		both := api.P{"RegionId": v.Gateway.Region, "ResourceType": "key", "ResourceId": keys}
		v.Must(t, "TagResources", with(both, api.P{"Tag": []api.P{
			{"Key": "team", "Value": "orders"}, {"Key": "stage", "Value": "тест"},
		}}))
		t.Equal(rows(t, keys[1]), map[string]string{"team": "orders", "stage": "тест"})
		listed := v.Must(t, "ListTagResources", both).List("TagResources", "TagResource")
		got := map[string]bool{}
		for _, row := range listed {
			t.Equal(row.Text("ResourceType"), "key")
			got[row.Text("ResourceId")+" "+row.Text("TagKey")+" "+row.Text("TagValue")] = true
		}
		t.Equal(got, map[string]bool{
			keys[0] + " team orders": true, keys[0] + " stage тест": true,
			keys[1] + " team orders": true, keys[1] + " stage тест": true,
		})
		v.Must(t, "UntagResources", with(both, api.P{"TagKey": []string{"team", "unknown"}}))
		t.Equal(rows(t, keys[0]), map[string]string{"stage": "тест"})
		v.Must(t, "UntagResources", with(both, api.P{"All": true}))
		t.Equal(len(rows(t, keys[1])), 0)
		v.Refused(t, 404, "InvalidResourceId.NotFound", "TagResources", api.P{
			"RegionId": v.Gateway.Region, "ResourceType": "key", "ResourceId": []string{notThere(keys[0])},
			"Tag": []api.P{{"Key": "a", "Value": "b"}},
		})
		v.Refused(t, 400, "Duplicate.TagKey", "TagResources",
			with(both, api.P{"Tag": []api.P{{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}}}))
	})
	v.step("tags-beyond-two-hundred-come-in-pages", many, func(t *steps.T) {
		var pages [][]string
		for range 6 {
			var keys []string
			for range 2 {
				keys = append(keys, v.newKey(t, nil))
			}
			pages = append(pages, keys)
		}
		var all []string
		name := unique("paged")
		for _, keys := range pages {
			all = append(all, keys...)
			var wanted []api.P
			for at := range 18 {
				wanted = append(wanted, api.P{"Key": fmt.Sprintf("%s-%d", name, at), "Value": "x"})
			}
			v.Must(t, "TagResources", api.P{
				"RegionId": v.Gateway.Region, "ResourceType": "key", "ResourceId": keys, "Tag": wanted,
			})
		}
		asked := api.P{"RegionId": v.Gateway.Region, "ResourceType": "key", "ResourceId": all}
		seen := map[string]bool{}
		var sizes []int
		for {
			page := v.Must(t, "ListTagResources", asked)
			rows := page.List("TagResources", "TagResource")
			sizes = append(sizes, len(rows))
			for _, row := range rows {
				seen[row.Text("ResourceId")+row.Text("TagKey")] = true
			}
			if page.Text("NextToken") == "" {
				break
			}
			asked["NextToken"] = page.Text("NextToken")
		}
		t.Equal(len(seen), 12*18)
		t.Equal(sizes, []int{200, 16})
	})
}

// notThere is an id of the same form that names no key.
func notThere(key string) string {
	if strings.HasSuffix(key, "0000") {
		return key[:len(key)-4] + "1111"
	}
	return key[:len(key)-4] + "0000"
}

func versions(v *Variant) {
	v.step("a-new-version-encrypts-and-the-old-one-opens", nil, func(t *steps.T) {
		key := v.newKey(t, nil)
		before := v.encrypt(t, key, []byte("old"), context)
		made := v.Must(t, "CreateKeyVersion", api.P{"KeyId": key}).In("KeyVersion")
		t.Equal(made.Text("KeyId"), key)
		t.Equal(v.metadata(t, key).Text("PrimaryKeyVersion"), made.Text("KeyVersionId"))
		after := v.encrypt(t, key, []byte("young"), context)
		t.Equal(after.Text("KeyVersionId"), made.Text("KeyVersionId"))
		t.True(before.Text("KeyVersionId") != after.Text("KeyVersionId"), "the version is the same")
		v.opensTo(t, before.Text("CiphertextBlob"), context, []byte("old"))
		v.opensTo(t, after.Text("CiphertextBlob"), context, []byte("young"))
	})
	v.step("versions-are-listed-in-pages-and-described", nil, func(t *steps.T) {
		key := v.newKey(t, nil)
		want := map[string]bool{v.metadata(t, key).Text("PrimaryKeyVersion"): true}
		for range 2 {
			want[v.Must(t, "CreateKeyVersion", api.P{"KeyId": key}).Text("KeyVersion", "KeyVersionId")] = true
		}
		got := map[string]bool{}
		for number := 1; number <= 3; number++ {
			page := v.Must(t, "ListKeyVersions", api.P{"KeyId": key, "PageNumber": number, "PageSize": 2})
			t.Equal(page.Text("TotalCount"), 3)
			t.Equal(page.Text("PageNumber"), number)
			rows := page.List("KeyVersions", "KeyVersion")
			t.Equal(len(rows), []int{2, 1, 0}[number-1])
			for _, row := range rows {
				id := row.Text("KeyVersionId")
				got[id] = true
				described := v.Must(t, "DescribeKeyVersion", api.P{"KeyId": key, "KeyVersionId": id}).In("KeyVersion")
				for _, field := range []string{"KeyId", "KeyVersionId", "CreationDate"} {
					t.Equal(described.Text(field), row.Text(field))
				}
			}
		}
		t.Equal(got, want)
		v.Refused(t, 404, "Forbidden.KeyVersionNotFound", "DescribeKeyVersion",
			api.P{"KeyId": key, "KeyVersionId": "01234567-89ab-4def-8123-456789abcdef"})
	})
	v.step("rotation-is-switched-on-suspended-and-off", nil, func(t *steps.T) {
		key := v.newKey(t, api.P{"EnableAutomaticRotation": true, "RotationInterval": "30d"})
		t.Equal(v.metadata(t, key).Text("RotationInterval"), "2592000s")
		v.Must(t, "UpdateRotationPolicy",
			api.P{"KeyId": key, "EnableAutomaticRotation": true, "RotationInterval": "365d"})
		described := v.metadata(t, key)
		t.Equal(described.Text("AutomaticRotation"), "Enabled")
		t.Equal(described.Text("RotationInterval"), "31536000s")
		next := date(t, described.Text("LastRotationDate")).Add(365 * 24 * time.Hour)
		t.True(date(t, described.Text("NextRotationDate")).Equal(next), "another next date")
		v.Must(t, "DisableKey", api.P{"KeyId": key})
		t.Equal(v.metadata(t, key).Text("AutomaticRotation"), "Suspended")
		v.Must(t, "EnableKey", api.P{"KeyId": key})
		v.Must(t, "UpdateRotationPolicy", api.P{"KeyId": key, "EnableAutomaticRotation": false})
		t.Equal(v.metadata(t, key).Text("AutomaticRotation"), "Disabled")
		v.refusedByName(t, "RotationInterval", "UpdateRotationPolicy",
			api.P{"KeyId": key, "EnableAutomaticRotation": true, "RotationInterval": "6d"})
	})
}

func lifecycle(v *Variant) {
	v.step("a-disabled-key-is-of-no-use-until-enabled", nil, func(t *steps.T) {
		key := v.newKey(t, api.P{"Description": "for a while 临时"})
		blob := v.encrypt(t, key, []byte("x"), nil).Text("CiphertextBlob")
		v.Must(t, "DisableKey", api.P{"KeyId": key})
		t.Equal(v.metadata(t, key).Text("KeyState"), "Disabled")
		v.noUse(t, key, blob, "Rejected.Disabled")
		v.Must(t, "EnableKey", api.P{"KeyId": key})
		v.opensTo(t, blob, nil, []byte("x"))
	})
	v.step("a-deletion-has-its-window-and-is-cancelled", nil, func(t *steps.T) {
		key := v.newKey(t, nil)
		blob := v.encrypt(t, key, []byte("x"), nil).Text("CiphertextBlob")
		for _, days := range []int{6, 367} {
			v.refusedByName(t, "PendingWindowInDays", "ScheduleKeyDeletion",
				api.P{"KeyId": key, "PendingWindowInDays": days})
		}
		v.Must(t, "ScheduleKeyDeletion", api.P{"KeyId": key, "PendingWindowInDays": 30})
		described := v.metadata(t, key)
		t.Equal(described.Text("KeyState"), "PendingDeletion")
		left := time.Until(date(t, described.Text("DeleteDate")))
		t.True(left > 719*time.Hour && left <= 720*time.Hour, "it is deleted in %v", left)
		v.noUse(t, key, blob, "Rejected.PendingDeletion")
		v.Refused(t, 409, "Rejected.StateModifiedFailed", "EnableKey", api.P{"KeyId": key})
		v.Must(t, "CancelKeyDeletion", api.P{"KeyId": key})
		t.Equal(v.metadata(t, key).Text("KeyState"), "Enabled")
		v.opensTo(t, blob, nil, []byte("x"))
		v.Refused(t, 409, "Rejected.StateModifiedFailed", "CancelKeyDeletion", api.P{"KeyId": key})
	})
	v.step("a-protected-key-is-not-deleted", needs("SetDeletionProtection"), func(t *steps.T) {
		key := v.newKey(t, nil)
		protect := api.P{"ProtectedResourceArn": v.arn("key/" + key)}
		v.Must(t, "SetDeletionProtection", with(protect, api.P{
			"EnableDeletionProtection": true, "DeletionProtectionDescription": "the orders",
		}))
		described := v.metadata(t, key)
		t.Equal(described.Text("DeletionProtection"), "Enabled")
		t.Equal(described.Text("DeletionProtectionDescription"), "the orders")
		v.Refused(t, 400, "Rejected.UnsupportedOperation", "ScheduleKeyDeletion",
			api.P{"KeyId": key, "PendingWindowInDays": 7})
		v.Must(t, "SetDeletionProtection", with(protect, api.P{"EnableDeletionProtection": false}))
		v.Must(t, "ScheduleKeyDeletion", api.P{"KeyId": key, "PendingWindowInDays": 7})
	})
	v.step("a-key-is-described-as-it-was-made", nil, func(t *steps.T) {
		made := v.Must(t, "CreateKey", api.P{
			"Description": "первый 第一", "KeySpec": "RSA_2048", "KeyUsage": "ENCRYPT/DECRYPT",
			"ProtectionLevel": "HSM",
		}).In("KeyMetadata")
		key := made.Text("KeyId")
		described := v.metadata(t, key)
		for field, want := range map[string]string{
			"Arn": v.arn("key/" + key), "Creator": v.Gateway.Account, "Description": "первый 第一",
			"KeySpec": "RSA_2048", "KeyUsage": "ENCRYPT/DECRYPT", "KeyState": "Enabled",
			"Origin": "Aliyun_KMS", "ProtectionLevel": "HSM",
		} {
			t.Equal(made.Text(field), want)
			t.Equal(described.Text(field), want)
		}
		t.True(time.Since(date(t, made.Text("CreationDate"))) < time.Minute, "made long ago")
		v.Must(t, "UpdateKeyDescription", api.P{"KeyId": key, "Description": "second"})
		t.Equal(v.metadata(t, key).Text("Description"), "second")
	})
	v.step("a-spec-that-the-token-lacks-is-refused", nil, func(t *steps.T) {
		v.Refused(t, 400, "UnsupportedOperation", "CreateKey",
			api.P{"KeySpec": "EC_SM2", "KeyUsage": "SIGN/VERIFY"})
		v.refusedByName(t, "KeySpec", "CreateKey", api.P{"KeySpec": "DES_64"})
	})
}

// noUse wants all that needs a key's material to be refused.
func (v *Variant) noUse(t *steps.T, key, blob, code string) {
	v.Refused(t, 409, code, "Encrypt", api.P{"KeyId": key, "Plaintext": encode([]byte("x"))})
	v.Refused(t, 409, code, "Decrypt", api.P{"CiphertextBlob": blob})
	v.Refused(t, 409, code, "GenerateDataKey", api.P{"KeyId": key})
	v.Refused(t, 409, code, "GenerateDataKeyWithoutPlaintext", api.P{"KeyId": key})
	v.Refused(t, 409, code, "CreateKeyVersion", api.P{"KeyId": key})
}

func aliases(v *Variant) {
	v.step("an-alias-is-made-moved-and-taken-away", nil, func(t *steps.T) {
		one, two, name := v.newKey(t, nil), v.newKey(t, nil), "alias/"+unique("go/Alias_1")
		v.Must(t, "CreateAlias", api.P{"KeyId": one, "AliasName": name})
		v.Refused(t, 400, "AliasAlreadyExists", "CreateAlias", api.P{"KeyId": two, "AliasName": name})
		blob := v.encrypt(t, name, []byte("x"), nil)
		t.Equal(blob.Text("KeyId"), one)
		v.Must(t, "UpdateAlias", api.P{"KeyId": two, "AliasName": name})
		t.Equal(v.encrypt(t, name, []byte("x"), nil).Text("KeyId"), two)
		v.opensTo(t, blob.Text("CiphertextBlob"), nil, []byte("x"))
		listed := v.Must(t, "ListAliasesByKeyId", api.P{"KeyId": two}).List("Aliases", "Alias")
		t.Equal(len(listed), 1)
		t.Equal(listed[0].Text("AliasName"), name)
		t.Equal(listed[0].Text("AliasArn"), v.arn(name))
		t.Equal(listed[0].Text("KeyId"), two)
		v.Must(t, "DeleteAlias", api.P{"AliasName": name})
		v.Refused(t, 404, "Forbidden.AliasNotFound", "Encrypt",
			api.P{"KeyId": name, "Plaintext": encode([]byte("x"))})
		v.Refused(t, 404, "Forbidden.AliasNotFound", "DeleteAlias", api.P{"AliasName": name})
	})
	v.step("aliases-are-listed-in-pages", nil, func(t *steps.T) {
		key, want := v.newKey(t, nil), map[string]bool{}
		for range 3 {
			name := "alias/" + unique("paged")
			want[name] = true
			v.Must(t, "CreateAlias", api.P{"KeyId": key, "AliasName": name})
		}
		pages := v.pages(t, "ListAliases", nil, 2, "Aliases", "Alias")
		got := map[string]bool{}
		for _, row := range pages {
			if row.Text("KeyId") == key {
				got[row.Text("AliasName")] = true
			}
		}
		t.Equal(got, want)
		t.Equal(len(v.pages(t, "ListAliasesByKeyId", api.P{"KeyId": key}, 2, "Aliases", "Alias")), 3)
	})
	v.step("an-alias-of-the-cloud-is-not-there-and-not-made", nil, func(t *steps.T) {
		v.Refused(t, 404, "Forbidden.AliasNotFound", "GenerateDataKey", api.P{"KeyId": "alias/acs/mse"})
		v.Refused(t, 400, "InvalidParameter", "CreateAlias",
			api.P{"KeyId": v.Gateway.KeyID, "AliasName": "alias/acs/mse"})
	})
}

// pages reads a list to its end and holds its counts against its rows.
func (v *Variant) pages(t *steps.T, action string, parameters api.P, size int, path ...string) []api.Answer {
	var rows []api.Answer
	for number := 1; ; number++ {
		page := v.Must(t, action, with(parameters, api.P{"PageNumber": number, "PageSize": size}))
		t.Equal(page.Text("PageNumber"), number)
		t.Equal(page.Text("PageSize"), size)
		found := page.List(path...)
		rows = append(rows, found...)
		if len(found) < size {
			t.Equal(page.Text("TotalCount"), len(rows))
			return rows
		}
	}
}

func keyLists(v *Variant) {
	v.step("keys-are-listed-in-pages", nil, func(t *steps.T) {
		made := map[string]bool{}
		for range 3 {
			made[v.newKey(t, nil)] = true
		}
		for _, size := range []int{3, 100} {
			got := map[string]bool{}
			for _, row := range v.pages(t, "ListKeys", nil, size, "Keys", "Key") {
				id := row.Text("KeyId")
				t.Equal(row.Text("KeyArn"), v.arn("key/"+id))
				t.True(!got[id], "%s is listed twice", id)
				got[id] = true
			}
			for id := range made {
				t.True(got[id], "%s is not listed", id)
			}
		}
		v.refusedByName(t, "PageSize", "ListKeys", api.P{"PageSize": 101})
		v.refusedByName(t, "PageNumber", "ListKeys", api.P{"PageNumber": 0})
	})
	v.step("keys-are-listed-by-filters", needs("ListKeys.Filters"), func(t *steps.T) {
		key := v.newKey(t, api.P{"KeySpec": "EC_P256", "KeyUsage": "SIGN/VERIFY"})
		v.Must(t, "DisableKey", api.P{"KeyId": key})
		filters := mustJSON([]map[string]any{
			{"Key": "KeyState", "Values": []string{"Disabled"}}, {"Key": "KeySpec", "Values": []string{"EC_P256"}},
		})
		found := false
		for _, row := range v.pages(t, "ListKeys", api.P{"Filters": filters}, 10, "Keys", "Key") {
			described := v.metadata(t, row.Text("KeyId"))
			t.Equal(described.Text("KeyState")+" "+described.Text("KeySpec"), "Disabled EC_P256")
			found = found || row.Text("KeyId") == key
		}
		t.True(found, "%s is not listed", key)
		v.refusedByName(t, "Filters", "ListKeys", api.P{"Filters": "no JSON"})
	})
}

func keyPolicies(v *Variant) {
	v.step("a-key-policy-is-given-back-letter-for-letter", needs("GetKeyPolicy", "SetKeyPolicy"), func(t *steps.T) {
		key := v.newKey(t, nil)
		named := api.P{"KeyId": key, "PolicyName": "default"}
		var policy map[string]any
		t.OK(json.Unmarshal([]byte(v.Must(t, "GetKeyPolicy", named).Text("Policy")), &policy))
		statement := policy["Statement"].([]any)[0].(map[string]any)
		t.Equal(statement["Sid"], "kms default key policy")
		statement["Sid"] = "mine"
		own := string(steps.Must(json.MarshalIndent(policy, "", "\t")))
		v.Must(t, "SetKeyPolicy", with(named, api.P{"Policy": own}))
		t.Equal(v.Must(t, "GetKeyPolicy", named).Text("Policy"), own)
		v.Refused(t, 404, "Forbidden.ResourceNotFound", "GetKeyPolicy", with(named, api.P{"PolicyName": "other"}))
		v.Refused(t, 400, "InvalidParameter", "SetKeyPolicy", with(named, api.P{"Policy": "{}"}))
	})
	v.step("a-key-is-made-with-its-policy", needs("CreateKey.Policy", "GetKeyPolicy"), func(t *steps.T) {
		template := v.Must(t, "GetKeyPolicy",
			api.P{"KeyId": v.newKey(t, nil), "PolicyName": "default"}).Text("Policy")
		own := strings.Replace(template, "kms default key policy", "made with it", 1)
		key := v.newKey(t, api.P{"Policy": own})
		t.Equal(v.Must(t, "GetKeyPolicy", api.P{"KeyId": key, "PolicyName": "default"}).Text("Policy"), own)
	})
}

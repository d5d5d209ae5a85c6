package cases

import (
	"strings"

	"hsmgate.test/support/api"
	"hsmgate.test/support/steps"
)

// Text holds a gateway that takes a plaintext that is not Base64 to what it promises.
func Text(v *Variant) {
	v.step("a-plaintext-that-is-no-base64-comes-back", nil, func(t *steps.T) {
		for _, text := range []string{"YourPassword1234!", "пароль 密码 \U0001F511", strings.Repeat("=", 6144), "a"} {
			sealed := v.Must(t, "Encrypt", api.P{"KeyId": v.Gateway.Alias, "Plaintext": text, "EncryptionContext": context})
			opened := v.Must(t, "Decrypt",
				api.P{"CiphertextBlob": sealed.Text("CiphertextBlob"), "EncryptionContext": context})
			t.Equal(opened.Text("Plaintext"), text)
		}
		v.refusedByName(t, "Plaintext", "Encrypt",
			api.P{"KeyId": v.Gateway.Alias, "Plaintext": strings.Repeat("=", 6145)})
	})
	v.step("base64-is-taken-as-ever", nil, func(t *steps.T) {
		plaintext := random(longest)
		v.opensTo(t, v.encrypt(t, v.Gateway.Alias, plaintext, nil).Text("CiphertextBlob"), nil, plaintext)
	})
}

// Throttled holds a gateway of few calls a second to its limit.
func Throttled(v *Variant) {
	v.step("too-many-calls-a-second-are-throttled", nil, func(t *steps.T) {
		for range 50 {
			_, err := v.Call("Encrypt", api.P{"KeyId": v.Gateway.Alias, "Plaintext": encode([]byte("x"))})
			if refusal, is := err.(*api.Refusal); is {
				t.Equal(refusal.Status, 429)
				t.Equal(refusal.Code, "Rejected.Throttling")
				t.Equal(len(refusal.RequestID), 36)
				return
			}
			t.OK(err)
		}
		t.Fail("50 calls were let through")
	})
}

// strays are operations of old SDKs that the API does not have.
var strays = map[string]bool{"AdvanceEncrypt": true, "DescribeService": true}

// refused are operations that no call has an answer of, with the test that shows their refusal.
var refused = map[string]string{
	"OpenKmsService": "every-operation-is-answered-or-not-served",
	"RotateSecret":   "a-generic-secret-is-not-rotated",
}

// Complete wants every operation of the SDK to have been answered or to be one that is not served, and
// every field of every answer to have been set, but those that are absent for the reason given.
func Complete(v *Variant, absent map[string]string) {
	v.step("every-operation-is-answered-or-not-served", nil, func(t *steps.T) {
		if v.Knows("OpenKmsService") {
			v.Refused(t, 400, "Forbidden.Opened", "OpenKmsService", nil)
		}
		for _, action := range v.Operations() {
			if v.Seen.Called(action) || refused[action] != "" || v.Misdeclared[action] != "" {
				continue
			}
			_, err := v.Call(action, nil)
			refusal, _ := err.(*api.Refusal)
			t.True(refusal != nil, "%s: %v", action, err)
			isStray := refusal.Code == "InvalidAction.NotFound" && strays[action]
			t.True(refusal.Code == "UnsupportedOperation" || isStray,
				"%s was not answered in any case, and is not refused as not served: %v", action, refusal)
		}
	})
	v.step("every-field-of-the-answers-is-set", nil, func(t *steps.T) {
		var unset []string
		for _, path := range v.Seen.Unset() {
			if !isAbsent(absent, path) {
				unset = append(unset, path)
			}
		}
		t.True(len(unset) == 0, "%v", unset)
		for path := range absent {
			t.True(!v.Seen.Has(path), "%s is set: take it off the list", path)
		}
	})
}

// isAbsent tells whether a path or what it is a part of is on the list.
func isAbsent(absent map[string]string, path string) bool {
	for {
		if absent[path] != "" {
			return true
		}
		at := strings.LastIndexByte(path, '.')
		if at < 0 {
			return false
		}
		path = path[:at]
	}
}

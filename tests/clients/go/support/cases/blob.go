package cases

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"sort"
	"strings"

	"hsmgate.test/support/steps"
)

// openBlob opens a ciphertext blob with the material of its key, as its published layout says
// (docs/ciphertext.md): version, IV, and what AES-GCM has sealed. The names and values of the context hold neither = nor &. It gives the
// version and the text.
func openBlob(material, blob []byte, context map[string]string) (version, text string) {
	const versionBytes, ivBytes = 36, 12
	var pairs []string
	for name, value := range context {
		pairs = append(pairs, name+"="+value)
	}
	sort.Strings(pairs)
	var authenticated []byte
	if len(pairs) > 0 {
		digest := sha256.Sum256([]byte(strings.Join(pairs, "&")))
		authenticated = digest[:]
	}
	gcm := steps.Must(cipher.NewGCM(steps.Must(aes.NewCipher(material))))
	sealed := blob[versionBytes:]
	opened := steps.Must(gcm.Open(nil, sealed[:ivBytes], sealed[ivBytes:], authenticated))
	return string(blob[:versionBytes]), string(opened)
}

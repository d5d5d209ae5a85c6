package verify

import (
	"crypto/sha256"
	"encoding/asn1"
	"math/big"
	"testing"
)

func TestASignatureOfSecp256k1(t *testing.T) {
	secret, nonce := big.NewInt(0x123456789), big.NewInt(0x987654321)
	public, r := times(secret, &point{gX, gY}), times(nonce, &point{gX, gY}).x
	digest := sha256.Sum256([]byte("text"))
	s := new(big.Int).Mul(r, secret)
	s.Add(s, new(big.Int).SetBytes(digest[:])).Mul(s, new(big.Int).ModInverse(nonce, n)).Mod(s, n)
	signature, _ := asn1.Marshal(struct{ R, S *big.Int }{r, s})
	if err := verifySecp256k1(public, digest[:], signature); err != nil {
		t.Error(err)
	}
	digest[0] ^= 1
	if verifySecp256k1(public, digest[:], signature) == nil {
		t.Error("another digest is not signed")
	}
	if times(n, &point{gX, gY}) != nil {
		t.Error("n is not the order")
	}
}

// Package verify judges with Go's own cryptography what a gateway has signed, and reads its public keys.
package verify

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
)

// Signature judges a signature of a SHA-256 digest by the public half in PEM.
func Signature(public, algorithm string, digest, signature []byte) error {
	if algorithm == "ECDSA_SHA_256" {
		if point, err := secp256k1Point(public); err == nil {
			return verifySecp256k1(point, digest, signature)
		}
	}
	key, err := Public(public)
	if err != nil {
		return err
	}
	switch key := key.(type) {
	case *rsa.PublicKey:
		if algorithm == "RSA_PSS_SHA_256" {
			options := &rsa.PSSOptions{SaltLength: 32, Hash: crypto.SHA256}
			return rsa.VerifyPSS(key, crypto.SHA256, digest, signature, options)
		}
		return rsa.VerifyPKCS1v15(key, crypto.SHA256, digest, signature)
	case *ecdsa.PublicKey:
		if !ecdsa.VerifyASN1(key, digest, signature) {
			return errors.New("the ECDSA signature is wrong")
		}
		return nil
	}
	return fmt.Errorf("no key to verify with: %T", key)
}

// Public reads a public key in PEM.
func Public(text string) (any, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil || block.Type != "PUBLIC KEY" {
		return nil, errors.New("no public key in PEM")
	}
	return x509.ParsePKIXPublicKey(block.Bytes)
}

// RSA reads an RSA public key in PEM.
func RSA(text string) (*rsa.PublicKey, error) {
	key, err := Public(text)
	if err != nil {
		return nil, err
	}
	if key, is := key.(*rsa.PublicKey); is {
		return key, nil
	}
	return nil, fmt.Errorf("no RSA key: %T", key)
}

// Go's library does not know secp256k1 (SEC 2, section 2.4.1), so it is worked out here with its large
// numbers: y² = x³ + 7 over p, base point g of order n.
var (
	p  = number("fffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc2f")
	n  = number("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141")
	gX = number("79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798")
	gY = number("483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8")
)

type point struct{ x, y *big.Int }

func number(hexadecimal string) *big.Int {
	value, _ := new(big.Int).SetString(hexadecimal, 16)
	return value
}

func secp256k1Point(text string) (*point, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("no PEM")
	}
	var info struct {
		Algorithm struct{ Kind, Curve asn1.ObjectIdentifier }
		Point     asn1.BitString
	}
	if _, err := asn1.Unmarshal(block.Bytes, &info); err != nil {
		return nil, err
	}
	if !info.Algorithm.Curve.Equal(asn1.ObjectIdentifier{1, 3, 132, 0, 10}) {
		return nil, errors.New("another curve")
	}
	bytes := info.Point.Bytes
	if len(bytes) != 65 || bytes[0] != 4 {
		return nil, errors.New("no uncompressed point")
	}
	is := &point{new(big.Int).SetBytes(bytes[1:33]), new(big.Int).SetBytes(bytes[33:])}
	left := new(big.Int).Mul(is.y, is.y)
	right := new(big.Int).Exp(is.x, big.NewInt(3), nil)
	right.Add(right, big.NewInt(7))
	if left.Sub(left, right).Mod(left, p).Sign() != 0 {
		return nil, errors.New("the point is not on the curve")
	}
	return is, nil
}

// add adds two points; nil is the point at infinity.
func add(one, other *point) *point {
	if one == nil {
		return other
	}
	if other == nil {
		return one
	}
	slope := new(big.Int)
	if one.x.Cmp(other.x) == 0 {
		if new(big.Int).Mod(new(big.Int).Add(one.y, other.y), p).Sign() == 0 {
			return nil
		}
		slope.Mul(one.x, one.x).Mul(slope, big.NewInt(3))
		slope.Mul(slope, new(big.Int).ModInverse(new(big.Int).Lsh(one.y, 1), p))
	} else {
		slope.Sub(other.y, one.y)
		run := new(big.Int).Sub(other.x, one.x)
		slope.Mul(slope, new(big.Int).ModInverse(run.Mod(run, p), p))
	}
	x := new(big.Int).Mul(slope, slope)
	x.Sub(x, one.x).Sub(x, other.x).Mod(x, p)
	y := new(big.Int).Sub(one.x, x)
	y.Mul(y, slope).Sub(y, one.y).Mod(y, p)
	return &point{x, y}
}

func times(scalar *big.Int, base *point) *point {
	var sum *point
	for at := scalar.BitLen() - 1; at >= 0; at-- {
		sum = add(sum, sum)
		if scalar.Bit(at) == 1 {
			sum = add(sum, base)
		}
	}
	return sum
}

func verifySecp256k1(public *point, digest, signature []byte) error {
	var parts struct{ R, S *big.Int }
	rest, err := asn1.Unmarshal(signature, &parts)
	if err != nil || len(rest) > 0 {
		return fmt.Errorf("no ECDSA signature in DER: %v", err)
	}
	for _, part := range []*big.Int{parts.R, parts.S} {
		if part.Sign() <= 0 || part.Cmp(n) >= 0 {
			return errors.New("the ECDSA signature is out of range")
		}
	}
	inverse := new(big.Int).ModInverse(parts.S, n)
	one := new(big.Int).Mul(new(big.Int).SetBytes(digest), inverse)
	other := new(big.Int).Mul(parts.R, inverse)
	sum := add(times(one.Mod(one, n), &point{gX, gY}), times(other.Mod(other, n), public))
	if sum == nil || new(big.Int).Mod(sum.x, n).Cmp(parts.R) != 0 {
		return errors.New("the ECDSA signature is wrong")
	}
	return nil
}

// Encrypts an object of OSS before it is sent, with data keys under a key of the gateway:
//
//	go run ./oss write report.pdf < report.pdf
//	go run ./oss read report.pdf > report.pdf
//
// OSS stores only ciphertext, and the encrypted data key of an object in its metadata. The address and the AccessKey
// of the gateway are those that `hsmgate dev` prints; OSS_ENDPOINT, OSS_REGION, OSS_BUCKET, OSS_ACCESS_KEY_ID and
// OSS_ACCESS_KEY_SECRET are those of OSS.
package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"log"
	"os"
	"strings"

	openapi "github.com/alibabacloud-go/darabonba-openapi/v2/client"
	kms "github.com/alibabacloud-go/kms-20160120/v3/client"
	"github.com/alibabacloud-go/tea/tea"
	"github.com/aliyun/alibabacloud-oss-go-sdk-v2/oss"
	"github.com/aliyun/alibabacloud-oss-go-sdk-v2/oss/credentials"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: oss write|read NAME")
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		log.Fatal(err)
	}
}

func run(verb, name string) error {
	keys, err := connect()
	if err != nil {
		return err
	}
	config := oss.LoadDefaultConfig().
		WithRegion(os.Getenv("OSS_REGION")).
		WithEndpoint(os.Getenv("OSS_ENDPOINT")).
		WithCredentialsProvider(credentials.NewEnvironmentVariableCredentialsProvider())
	bucket, err := oss.NewEncryptionClient(oss.NewClient(config), masterCipher{client: keys, key: "alias/demo"})
	if err != nil {
		return err
	}
	switch verb {
	case "write":
		return write(bucket, name)
	case "read":
		return read(bucket, name)
	default:
		return errors.New("usage: oss write|read NAME")
	}
}

func write(bucket *oss.EncryptionClient, name string) error {
	content, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	_, err = bucket.PutObject(context.Background(), &oss.PutObjectRequest{
		Bucket: oss.Ptr(os.Getenv("OSS_BUCKET")), Key: oss.Ptr(name), Body: bytes.NewReader(content),
	})
	return err
}

func read(bucket *oss.EncryptionClient, name string) error {
	object, err := bucket.GetObject(context.Background(), &oss.GetObjectRequest{
		Bucket: oss.Ptr(os.Getenv("OSS_BUCKET")), Key: oss.Ptr(name),
	})
	if err != nil {
		return err
	}
	defer object.Body.Close()
	_, err = io.Copy(os.Stdout, object.Body)
	return err
}

// masterCipher encrypts the data keys of objects with a key of the gateway.
type masterCipher struct {
	client *kms.Client
	key    string
}

func (m masterCipher) Encrypt(plaintext []byte) ([]byte, error) {
	encrypted, err := m.client.Encrypt(&kms.EncryptRequest{
		KeyId:     tea.String(m.key),
		Plaintext: tea.String(base64.StdEncoding.EncodeToString(plaintext)),
	})
	if err != nil {
		return nil, err
	}
	return base64.StdEncoding.DecodeString(tea.StringValue(encrypted.Body.CiphertextBlob))
}

func (m masterCipher) Decrypt(blob []byte) ([]byte, error) {
	decrypted, err := m.client.Decrypt(&kms.DecryptRequest{
		CiphertextBlob: tea.String(base64.StdEncoding.EncodeToString(blob)),
	})
	if err != nil {
		return nil, err
	}
	return base64.StdEncoding.DecodeString(tea.StringValue(decrypted.Body.Plaintext))
}

// GetWrapAlgorithm names the cipher in the metadata of an object, as the SDKs with a cipher for KMS do.
func (m masterCipher) GetWrapAlgorithm() string { return "KMS/ALICLOUD" }

// GetMatDesc describes the key in the metadata of an object.
func (m masterCipher) GetMatDesc() string { return `{"key":"` + m.key + `"}` }

func connect() (*kms.Client, error) {
	protocol, address, _ := strings.Cut(os.Getenv("HSMGATE_ENDPOINT"), "://")
	config := &openapi.Config{
		Endpoint:        tea.String(address),
		Protocol:        tea.String(protocol),
		AccessKeyId:     tea.String(os.Getenv("HSMGATE_ACCESS_KEY_ID")),
		AccessKeySecret: tea.String(os.Getenv("HSMGATE_ACCESS_KEY_SECRET")),
	}
	if file := os.Getenv("HSMGATE_CA_FILE"); file != "" {
		ca, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		config.Ca = tea.String(string(ca))
	}
	return kms.NewClient(config)
}

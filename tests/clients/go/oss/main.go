// The official Go SDKs of OSS, whose encryption on the client's side takes its keys from the gateway. The
// objects are kept by a server of the tests; only the gateway's part is under test.
package main

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/aliyun/alibaba-cloud-sdk-go/services/kms"
	oss2 "github.com/aliyun/alibabacloud-oss-go-sdk-v2/oss"
	credentials2 "github.com/aliyun/alibabacloud-oss-go-sdk-v2/oss/credentials"
	crypto2 "github.com/aliyun/alibabacloud-oss-go-sdk-v2/oss/crypto"
	oss1 "github.com/aliyun/aliyun-oss-go-sdk/oss"
	crypto1 "github.com/aliyun/aliyun-oss-go-sdk/oss/crypto"

	"hsmgate.test/older"
	"hsmgate.test/support/api"
	"hsmgate.test/support/cases"
	"hsmgate.test/support/objects"
	"hsmgate.test/support/steps"
)

const bucket = "bucket"

var description = map[string]string{"purpose": "tests", "ключ": "1"}

func main() {
	server := objects.Start()
	first(server)
	second(server)
	example(server)
	steps.End()
}

// first drives the first generation, whose own cipher speaks https only.
func first(server *objects.Server) {
	gateway := steps.TLS()
	client := older.Connect(gateway)
	client.Domain = gateway.Address()
	open := func(t *steps.T, key string) *crypto1.CryptoBucket {
		master := steps.Must(crypto1.CreateMasterAliKms(description, key, client))
		store := steps.Must(oss1.New(server.Endpoint(), "id", "secret"))
		return steps.Must(crypto1.GetCryptoBucket(store, bucket, crypto1.CreateAesCtrCipher(master),
			crypto1.SetAliKmsClient(client)))
	}
	get := func(t *steps.T, store *crypto1.CryptoBucket, key string, options ...oss1.Option) []byte {
		body := steps.Must(store.GetObject(key, options...))
		defer body.Close()
		return steps.Must(io.ReadAll(body))
	}
	content := cases.Random(100_000)
	steps.Step("oss1-an-object-is-sealed-and-comes-back", func(t *steps.T) {
		store := open(t, gateway.Alias)
		t.OK(store.PutObject("object", bytes.NewReader(content)))
		kept := server.Object(bucket + "/object")
		t.Equal(kept.Metadata.Get("X-Oss-Meta-Client-Side-Encryption-Wrap-Alg"), "KMS/ALICLOUD")
		t.Bytes(openObject(gateway, kept), content)
		t.Bytes(get(t, store, "object"), content)
	})
	steps.Step("oss1-a-range-of-an-object-comes-back", func(t *steps.T) {
		t.Bytes(get(t, open(t, gateway.Alias), "object", oss1.Range(1001, 5000)), content[1001:5001])
	})
	steps.Step("oss1-an-object-uploaded-in-parts-comes-back", func(t *steps.T) {
		store, size := open(t, gateway.Alias), 16*2048
		parts := crypto1.PartCryptoContext{DataSize: int64(len(content)), PartSize: int64(size)}
		upload := steps.Must(store.InitiateMultipartUpload("parts", &parts))
		var done []oss1.UploadPart
		for at := 0; at < len(content); at += size {
			piece := content[at:min(at+size, len(content))]
			done = append(done, steps.Must(
				store.UploadPart(upload, bytes.NewReader(piece), int64(len(piece)), at/size+1, parts)))
		}
		steps.Must(store.CompleteMultipartUpload(upload, done))
		t.Bytes(get(t, store, "parts"), content)
	})
	steps.Step("oss1-a-file-goes-up-and-down", func(t *steps.T) {
		folder := steps.Must(os.MkdirTemp("", "oss"))
		defer os.RemoveAll(folder)
		up, down := filepath.Join(folder, "up"), filepath.Join(folder, "down")
		t.OK(os.WriteFile(up, content, 0o600))
		store := open(t, gateway.Alias)
		t.OK(store.PutObjectFromFile("file", up))
		t.OK(store.GetObjectToFile("file", down))
		t.Bytes(steps.Must(os.ReadFile(down)), content)
	})
	steps.Step("oss1-an-object-outlives-a-rotation-and-a-new-master-key", func(t *steps.T) {
		public := older.Variant("https", gateway, older.Way{Method: "POST", Format: "JSON"}, api.NewSeen())
		key := public.NewKey(t, nil)
		t.OK(open(t, key).PutObject("rotated", bytes.NewReader(content)))
		public.Must(t, "CreateKeyVersion", api.P{"KeyId": key})
		t.Bytes(get(t, open(t, key), "rotated"), content)
		t.Bytes(get(t, open(t, gateway.Alias), "rotated"), content)
	})
	steps.Step("oss1-a-changed-envelope-is-refused", func(t *steps.T) {
		store := open(t, gateway.Alias)
		t.OK(store.PutObject("changed", bytes.NewReader(content)))
		change(server, "changed")
		_, err := store.GetObject("changed")
		t.True(err != nil && strings.Contains(err.Error(), "InvalidParameter"), "got %v", err)
	})
}

// second drives the second generation. It has no cipher of its own for KMS, only the interface.
func second(server *objects.Server) {
	for _, gateway := range []steps.Gateway{steps.Plain(), steps.TLS()} {
		name := "oss2-" + gateway.Scheme() + "-"
		open := func() *oss2.EncryptionClient {
			config := oss2.LoadDefaultConfig().WithRegion(gateway.Region).WithEndpoint(server.Endpoint()).
				WithUsePathStyle(true).WithDisableSSL(true).
				WithCredentialsProvider(credentials2.NewStaticCredentialsProvider("id", "secret"))
			return steps.Must(oss2.NewEncryptionClient(oss2.NewClient(config),
				master{older.Connect(gateway), gateway.Alias}))
		}
		get := func(key string, span *string) ([]byte, error) {
			got, err := open().GetObject(context.Background(), &oss2.GetObjectRequest{
				Bucket: oss2.Ptr(bucket), Key: oss2.Ptr(key), Range: span,
			})
			if err != nil {
				return nil, err
			}
			defer got.Body.Close()
			return io.ReadAll(got.Body)
		}
		put := func(t *steps.T, key string, content []byte) {
			steps.Must(open().PutObject(context.Background(), &oss2.PutObjectRequest{
				Bucket: oss2.Ptr(bucket), Key: oss2.Ptr(key), Body: bytes.NewReader(content),
			}))
		}
		content := cases.Random(50_000)
		steps.Step(name+"an-object-is-sealed-and-comes-back", func(t *steps.T) {
			put(t, "second", content)
			t.Bytes(openObject(gateway, server.Object(bucket+"/second")), content)
			t.Bytes(steps.Must(get("second", nil)), content)
			t.Bytes(steps.Must(get("second", oss2.Ptr("bytes=777-4000"))), content[777:4001])
		})
		steps.Step(name+"an-object-uploaded-in-parts-comes-back", func(t *steps.T) {
			client, size := open(), 16*1024
			upload := steps.Must(client.InitiateMultipartUpload(context.Background(), &oss2.InitiateMultipartUploadRequest{
				Bucket: oss2.Ptr(bucket), Key: oss2.Ptr("parts2"),
				CSEPartSize: oss2.Ptr(int64(size)), CSEDataSize: oss2.Ptr(int64(len(content))),
			}))
			var done []oss2.UploadPart
			for at := 0; at < len(content); at += size {
				number := int32(at/size + 1)
				part := steps.Must(client.UploadPart(context.Background(), &oss2.UploadPartRequest{
					Bucket: oss2.Ptr(bucket), Key: oss2.Ptr("parts2"), UploadId: upload.UploadId, PartNumber: number,
					Body:                bytes.NewReader(content[at:min(at+size, len(content))]),
					CSEMultiPartContext: upload.CSEMultiPartContext,
				}))
				done = append(done, oss2.UploadPart{PartNumber: number, ETag: part.ETag})
			}
			steps.Must(client.CompleteMultipartUpload(context.Background(), &oss2.CompleteMultipartUploadRequest{
				Bucket: oss2.Ptr(bucket), Key: oss2.Ptr("parts2"), UploadId: upload.UploadId,
				CompleteMultipartUpload: &oss2.CompleteMultipartUpload{Parts: done},
			}))
			t.Bytes(steps.Must(get("parts2", nil)), content)
		})
		steps.Step(name+"a-changed-envelope-is-refused", func(t *steps.T) {
			put(t, "changed2", content)
			change(server, "changed2")
			_, err := get("changed2", nil)
			t.True(err != nil && strings.Contains(err.Error(), "InvalidParameter"), "got %v", err)
		})
	}
}

// example runs examples/go/oss, which uses the second generation with the current SDK.
func example(server *objects.Server) {
	for _, gateway := range []steps.Gateway{steps.Plain(), steps.TLS()} {
		steps.Step("the-example-writes-and-reads-an-object-by-"+gateway.Scheme(), func(t *steps.T) {
			variables := []string{
				"OSS_ENDPOINT=" + server.Endpoint(), "OSS_REGION=" + gateway.Region, "OSS_BUCKET=" + bucket,
				"OSS_ACCESS_KEY_ID=id", "OSS_ACCESS_KEY_SECRET=secret",
			}
			content := "a report of the example"
			gateway.RunExample(t, content, variables, "write", "report")
			kept := server.Object(bucket + "/report")
			t.True(!bytes.Contains(kept.Bytes, []byte("report")), "it was sent as it is")
			t.Bytes(openObject(gateway, kept), []byte(content))
			t.Equal(gateway.RunExample(t, "", variables, "read", "report"), content)
		})
	}
}

// master is a master cipher of the second generation over the gateway.
type master struct {
	client *kms.Client
	key    string
}

func (m master) Encrypt(plaintext []byte) ([]byte, error) {
	request := kms.CreateEncryptRequest()
	request.KeyId, request.Plaintext = m.key, base64.StdEncoding.EncodeToString(plaintext)
	answer, err := m.client.Encrypt(request)
	if err != nil {
		return nil, err
	}
	return base64.StdEncoding.DecodeString(answer.CiphertextBlob)
}

func (m master) Decrypt(blob []byte) ([]byte, error) {
	request := kms.CreateDecryptRequest()
	request.CiphertextBlob = base64.StdEncoding.EncodeToString(blob)
	answer, err := m.client.Decrypt(request)
	if err != nil {
		return nil, err
	}
	return base64.StdEncoding.DecodeString(answer.Plaintext)
}

func (m master) GetWrapAlgorithm() string { return "KMS/ALICLOUD" }

func (m master) GetMatDesc() string { return `{"purpose":"tests"}` }

var _ crypto2.MasterCipher = master{}

// openObject opens a kept object without the SDK: what stands in its metadata, through the gateway.
func openObject(gateway steps.Gateway, object *objects.Object) []byte {
	decrypt := func(name string) []byte {
		text := object.Metadata.Get("X-Oss-Meta-Client-Side-Encryption-" + name)
		return steps.Must(master{client: older.Connect(gateway)}.Decrypt(
			steps.Must(base64.StdEncoding.DecodeString(text))))
	}
	opened := make([]byte, len(object.Bytes))
	block := steps.Must(aes.NewCipher(decrypt("Key")))
	cipher.NewCTR(block, decrypt("Start")).XORKeyStream(opened, object.Bytes)
	return opened
}

// change changes the last byte of the sealed key in the metadata of an object.
func change(server *objects.Server, key string) {
	const name = "X-Oss-Meta-Client-Side-Encryption-Key"
	metadata := server.Object(bucket + "/" + key).Metadata
	sealed := steps.Must(base64.StdEncoding.DecodeString(metadata.Get(name)))
	sealed[len(sealed)-1] ^= 1
	metadata.Set(name, base64.StdEncoding.EncodeToString(sealed))
}

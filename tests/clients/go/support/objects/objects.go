// Package objects is an object storage in memory, as far as OSS clients with encryption of their own use
// one: objects with their metadata, ranges, and uploads in parts. Addresses have the path style.
package objects

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"
)

// An Object is what is kept: the bytes as they were sent, and the headers that describe them.
type Object struct {
	Bytes    []byte
	Metadata http.Header
}

// A Server keeps objects.
type Server struct {
	lock    sync.Mutex
	objects map[string]*Object
	uploads map[string]*upload
	server  *httptest.Server
}

type upload struct {
	path     string
	metadata http.Header
	parts    map[int][]byte
}

const metadataPrefix = "X-Oss-Meta-"

// Start starts a server on a free port of the loopback.
func Start() *Server {
	server := &Server{objects: map[string]*Object{}, uploads: map[string]*upload{}}
	server.server = httptest.NewServer(server)
	return server
}

// Endpoint is its address with the scheme.
func (s *Server) Endpoint() string { return s.server.URL }

// Object gives what is kept at bucket/key; a test may change it.
func (s *Server) Object(path string) *Object {
	s.lock.Lock()
	defer s.lock.Unlock()
	return s.objects["/"+path]
}

func (s *Server) ServeHTTP(answer http.ResponseWriter, request *http.Request) {
	s.lock.Lock()
	defer s.lock.Unlock()
	answer.Header().Set("X-Oss-Request-Id", "000000000000000000000001")
	query, path := request.URL.Query(), request.URL.Path
	body, err := io.ReadAll(request.Body)
	if err != nil {
		answer.WriteHeader(http.StatusBadRequest)
		return
	}
	sent, isUpload := s.uploads[query.Get("uploadId")]
	switch {
	case request.Method == http.MethodPost && query.Has("uploads"):
		id := fmt.Sprintf("upload-%d", len(s.uploads)+1)
		s.uploads[id] = &upload{path, metadata(request), map[int][]byte{}}
		bucket, key, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
		write(answer, struct {
			XMLName               xml.Name `xml:"InitiateMultipartUploadResult"`
			Bucket, Key, UploadId string
		}{Bucket: bucket, Key: key, UploadId: id})
	case request.Method == http.MethodPut && isUpload:
		number, _ := strconv.Atoi(query.Get("partNumber"))
		sent.parts[number] = body
		answer.Header().Set("ETag", etag(body))
	case request.Method == http.MethodPost && isUpload:
		var numbers []int
		for number := range sent.parts {
			numbers = append(numbers, number)
		}
		sort.Ints(numbers)
		var whole []byte
		for _, number := range numbers {
			whole = append(whole, sent.parts[number]...)
		}
		s.objects[sent.path] = &Object{whole, sent.metadata}
		write(answer, struct {
			XMLName xml.Name `xml:"CompleteMultipartUploadResult"`
			ETag    string
		}{ETag: etag(whole)})
	case request.Method == http.MethodPut:
		s.objects[path] = &Object{body, metadata(request)}
		answer.Header().Set("ETag", etag(body))
	case request.Method == http.MethodGet || request.Method == http.MethodHead:
		object := s.objects[path]
		if object == nil {
			answer.WriteHeader(http.StatusNotFound)
			return
		}
		for name, values := range object.Metadata {
			answer.Header()[name] = values
		}
		answer.Header().Set("ETag", etag(object.Bytes))
		answer.Header().Set("X-Oss-Object-Type", "Normal")
		http.ServeContent(answer, request, "", time.Unix(1700000000, 0), bytes.NewReader(object.Bytes))
	default:
		answer.WriteHeader(http.StatusMethodNotAllowed)
	}
}

func metadata(request *http.Request) http.Header {
	kept := http.Header{"Content-Type": {"application/octet-stream"}}
	for name, values := range request.Header {
		if strings.HasPrefix(name, metadataPrefix) {
			kept[name] = values
		}
	}
	return kept
}

func etag(body []byte) string { return fmt.Sprintf("\"%d\"", len(body)) }

func write(answer http.ResponseWriter, value any) {
	answer.Header().Set("Content-Type", "application/xml")
	text, err := xml.Marshal(value)
	if err != nil {
		answer.WriteHeader(http.StatusInternalServerError)
		return
	}
	answer.Write(append([]byte(xml.Header), text...))
}

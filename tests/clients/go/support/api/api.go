// Package api calls operations of the public API by name through the typed classes of an official SDK,
// so that the same cases drive every generation of them. Requests and answers are the SDK's own types:
// what its classes cannot say or decode fails.
package api

import (
	"encoding/json"
	"fmt"
	"reflect"
	"sort"
	"strings"

	"hsmgate.test/support/steps"
)

// P holds the parameters of a call by their names in the API. A value is a string, a bool, an int, a
// map for an encryption context, a list of strings, or a list of P.
type P map[string]any

// A Refusal is an error of the gateway, as the SDK shows it.
type Refusal struct {
	Code, Message, RequestID string
	Status                   int
}

func (r *Refusal) Error() string {
	return fmt.Sprintf("%d %s %s (request %s)", r.Status, r.Code, r.Message, r.RequestID)
}

// A Client is the client of an SDK: its methods are the operations of the API.
type Client struct {
	// SDK is the SDK's own client.
	SDK any
	// Request makes the SDK's request where a new one is not enough.
	Request func(request any, action string)
	// Refusal reads an error of the SDK; nil when it is none of the gateway.
	Refusal func(err error) *Refusal
	// Answer gives what the SDK has decoded.
	Answer func(response any) any
	// Seen collects what the answers have set.
	Seen *Seen
}

// Knows tells whether the SDK has an operation ("Encrypt") or its parameter ("Encrypt.DryRun").
func (c *Client) Knows(what string) bool {
	action, parameter, _ := strings.Cut(what, ".")
	method := reflect.ValueOf(c.SDK).MethodByName(action)
	if !method.IsValid() {
		return false
	}
	if parameter == "" {
		return true
	}
	_, knows := method.Type().In(0).Elem().FieldByName(parameter)
	return knows
}

// Call makes a call. An error is a *Refusal, or something that is none of the gateway.
func (c *Client) Call(action string, parameters P) (Answer, error) {
	method := reflect.ValueOf(c.SDK).MethodByName(action)
	if !method.IsValid() {
		return Answer{}, fmt.Errorf("the SDK has no %s", action)
	}
	var arguments []reflect.Value
	if method.Type().NumIn() == 1 {
		request := reflect.New(method.Type().In(0).Elem())
		if c.Request != nil {
			c.Request(request.Interface(), action)
		}
		for name, value := range parameters {
			field := request.Elem().FieldByName(name)
			if !field.IsValid() {
				return Answer{}, fmt.Errorf("%s of the SDK has no %s", action, name)
			}
			if err := set(field, value); err != nil {
				return Answer{}, fmt.Errorf("%s of %s: %w", name, action, err)
			}
		}
		arguments = append(arguments, request)
	}
	results := method.Call(arguments)
	if failed, _ := results[1].Interface().(error); failed != nil {
		if refusal := c.Refusal(failed); refusal != nil {
			return Answer{}, refusal
		}
		return Answer{}, fmt.Errorf("%s: %w", action, failed)
	}
	answer := reflect.ValueOf(c.Answer(results[0].Interface()))
	c.Seen.note(action, answer)
	return Answer{action, answer}, nil
}

// Must makes a call that may not fail.
func (c *Client) Must(t *steps.T, action string, parameters P) Answer {
	answer, err := c.Call(action, parameters)
	if err != nil {
		t.Fail("%s: %v", action, err)
	}
	return answer
}

// Refused makes a call that shall be refused, with this status and code and with a request id.
func (c *Client) Refused(t *steps.T, status int, code, action string, parameters P) *Refusal {
	_, err := c.Call(action, parameters)
	refusal, _ := err.(*Refusal)
	if refusal == nil {
		t.Fail("%s: want %d %s, got %v", action, status, code, err)
	}
	if refusal.Status != status || refusal.Code != code {
		t.Fail("%s: want %d %s, got %v", action, status, code, refusal)
	}
	t.True(len(refusal.RequestID) == 36, "%s: the error has no request id: %v", action, refusal)
	t.True(refusal.Message != "", "%s: the error has no message", action)
	return refusal
}

// set puts a value into a field, in whatever type the SDK declares it.
func set(field reflect.Value, value any) error {
	if field.Kind() == reflect.Pointer {
		field.Set(reflect.New(field.Type().Elem()))
		return set(field.Elem(), value)
	}
	switch value := value.(type) {
	case map[string]string:
		if field.Kind() != reflect.Map {
			text, err := json.Marshal(value)
			if err != nil {
				return err
			}
			return set(field, string(text))
		}
		field.Set(reflect.MakeMap(field.Type()))
		for key, entry := range value {
			field.SetMapIndex(reflect.ValueOf(key), reflect.ValueOf(entry))
		}
	case []string:
		field.Set(reflect.MakeSlice(field.Type(), len(value), len(value)))
		for at, entry := range value {
			if err := set(field.Index(at), entry); err != nil {
				return err
			}
		}
	case []P:
		field.Set(reflect.MakeSlice(field.Type(), len(value), len(value)))
		for at, entry := range value {
			part := field.Index(at)
			if part.Kind() == reflect.Pointer {
				part.Set(reflect.New(part.Type().Elem()))
				part = part.Elem()
			}
			for name, inner := range entry {
				if err := set(part.FieldByName(name), inner); err != nil {
					return err
				}
			}
		}
	default:
		given := reflect.ValueOf(value)
		switch {
		case field.Kind() == reflect.String:
			field.SetString(fmt.Sprint(value))
		case given.CanConvert(field.Type()):
			field.Set(given.Convert(field.Type()))
		default:
			return fmt.Errorf("%T cannot become %v", value, field.Type())
		}
	}
	return nil
}

// An Answer is what an SDK has decoded.
type Answer struct {
	action string
	value  reflect.Value
}

func dereferenced(value reflect.Value) reflect.Value {
	for value.Kind() == reflect.Pointer || value.Kind() == reflect.Interface {
		value = value.Elem()
	}
	return value
}

func (a Answer) at(path []string) reflect.Value {
	value := dereferenced(a.value)
	for _, name := range path {
		if !value.IsValid() {
			break
		}
		value = dereferenced(value.FieldByName(name))
	}
	return value
}

// Text is a field as text; a field that is not set fails the step.
func (a Answer) Text(path ...string) string {
	value := a.at(path)
	if !value.IsValid() {
		panic(fmt.Sprintf("%s answers no %s", a.action, strings.Join(path, ".")))
	}
	return fmt.Sprint(value.Interface())
}

// Bytes is a field of bytes.
func (a Answer) Bytes(path ...string) []byte {
	value := a.at(path)
	if !value.IsValid() {
		panic(fmt.Sprintf("%s answers no %s", a.action, strings.Join(path, ".")))
	}
	return value.Bytes()
}

// In is a part of the answer.
func (a Answer) In(path ...string) Answer { return Answer{a.action, a.at(path)} }

// List is a list in the answer.
func (a Answer) List(path ...string) []Answer {
	value := a.at(path)
	if !value.IsValid() {
		panic(fmt.Sprintf("%s answers no %s", a.action, strings.Join(path, ".")))
	}
	var list []Answer
	for at := range value.Len() {
		list = append(list, Answer{a.action, value.Index(at)})
	}
	return list
}

// Seen collects which fields of which types the answers have set.
type Seen struct {
	actions map[string]reflect.Type
	set     map[string]bool
}

// NewSeen has seen nothing.
func NewSeen() *Seen { return &Seen{map[string]reflect.Type{}, map[string]bool{}} }

// Called tells whether an operation was answered.
func (s *Seen) Called(action string) bool { return s.actions[action] != nil }

func (s *Seen) note(action string, answer reflect.Value) {
	value := dereferenced(answer)
	s.actions[action] = value.Type()
	s.walk(action, value)
}

func (s *Seen) walk(path string, value reflect.Value) {
	value = dereferenced(value)
	switch {
	case !value.IsValid():
	case value.Kind() == reflect.Struct:
		for at := range value.NumField() {
			field := value.Type().Field(at)
			if field.IsExported() && !field.Anonymous {
				inner := value.Field(at)
				if isSet(inner) {
					s.set[path+"."+field.Name] = true
				}
				s.walk(path+"."+field.Name, inner)
			}
		}
	case value.Kind() == reflect.Slice:
		for at := range value.Len() {
			s.walk(path, value.Index(at))
		}
	}
}

// isSet tells whether an answer has set a field: a pointer, or a value that is not the empty one.
func isSet(value reflect.Value) bool {
	switch value.Kind() {
	case reflect.Slice, reflect.Map:
		return value.Len() > 0
	default:
		return !value.IsZero()
	}
}

// Has tells whether an answer has set a field, named as by Unset.
func (s *Seen) Has(path string) bool { return s.set[path] }

// Unset names, as Action.Field.Field, the fields of the answered operations that no answer has set.
func (s *Seen) Unset() []string {
	var unset []string
	for action, answer := range s.actions {
		for _, path := range fields(action, answer) {
			if !s.set[path] {
				unset = append(unset, path)
			}
		}
	}
	sort.Strings(unset)
	return unset
}

func fields(path string, kind reflect.Type) []string {
	for kind.Kind() == reflect.Pointer || kind.Kind() == reflect.Slice {
		kind = kind.Elem()
	}
	var paths []string
	if kind.Kind() == reflect.Struct {
		for at := range kind.NumField() {
			field := kind.Field(at)
			if field.IsExported() && !field.Anonymous {
				inner := path + "." + field.Name
				paths = append(append(paths, inner), fields(inner, field.Type)...)
			}
		}
	}
	return paths
}

// Operations names the operations of the SDK's client, by their requests.
func (c *Client) Operations() []string {
	var actions []string
	client := reflect.TypeOf(c.SDK)
	for at := range client.NumMethod() {
		action := client.Method(at).Name
		method := reflect.ValueOf(c.SDK).MethodByName(action)
		if method.Type().NumOut() != 2 {
			continue
		}
		answer := method.Type().Out(0)
		if answer.Kind() == reflect.Pointer && answer.Elem().Name() == action+"Response" {
			actions = append(actions, action)
		}
	}
	sort.Strings(actions)
	return actions
}

// Field is a field of what a pointer leads to.
func Field(of any, name string) any { return reflect.ValueOf(of).Elem().FieldByName(name).Interface() }

// Embed sets the embedded pointer that a request of the older SDK needs before anything else.
func Embed(request any, name string, value any) {
	reflect.ValueOf(request).Elem().FieldByName(name).Set(reflect.ValueOf(value))
}

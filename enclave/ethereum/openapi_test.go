package ethereum_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"

	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"holdfast/enclave/ethereum"
	"holdfast/enclave/ethereum/signing"
	"holdfast/enclave/slashing"
)

// openapi is the parts of the description that the test walks.
type openapi struct {
	OpenAPI string
	Paths   map[string]map[string]struct {
		RequestBody *struct{ Content map[string]media }
		Responses   map[string]struct{ Content map[string]media }
	}
	Components struct{ Schemas map[string]any }
}

type media struct{ Schema any }

func described(t *testing.T) openapi {
	t.Helper()
	w := get(ethereum.New(nil), "GET", "/api/v1/eth2/openapi.json")
	var d openapi
	if err := json.Unmarshal(w.Body.Bytes(), &d); err != nil || w.Code != 200 || d.OpenAPI != "3.1.0" {
		t.Fatalf("got %d %.200s", w.Code, w.Body)
	}
	return d
}

// exchange is a request that gives a described status.
type exchange struct {
	operation string // method and path as described
	status    string
	service   func(*testing.T) *ethereum.Service
	body      string
	accept    string
	key       byte // that the path names
	broken    bool // the body does not arrive whole
}

func one(t *testing.T) *ethereum.Service      { return loaded(t, testKey(t, 1)) }
func unloaded(*testing.T) *ethereum.Service   { return ethereum.New(nil) }
func batches(t *testing.T) *ethereum.Service  { return batching(t, testKey(t, 1)) }
func withTwo(t *testing.T) *ethereum.Service  { s := one(t); imported(t, s, 2); return s }
func unhealed(t *testing.T) *ethereum.Service { return loadedWith(t, failing, testKey(t, 1)) }

func reloading(t *testing.T) *ethereum.Service {
	service := configured(t, func(c *ethereum.Config) { c.Reload = func(context.Context) error { select {} } })
	get(service, "POST", "/reload")
	return service
}

func voted(t *testing.T) *ethereum.Service {
	service := one(t)
	post(service, public(t, 1).String(), block(5, "b"))
	return service
}

var failing = storeFunc(func() slashing.Decision { return slashing.Fail(errors.New("disk is full")) })

const (
	opSign      = "POST /api/v1/eth2/sign/{identifier}"
	opBatch     = "POST /api/v1/eth2/sign"
	opImport    = "POST /eth/v1/keystores"
	opDelete    = "DELETE /eth/v1/keystores"
	opHealth    = "GET /healthcheck"
	opWatermark = "GET /api/v1/eth2/highWatermark"
)

func exchanges(t *testing.T) []exchange {
	long := strings.Repeat(" ", 8<<20) + "{}"
	both := batch(attestation(0, 1, "a"), public(t, 1).String(), public(t, 9).String())
	return []exchange{
		{operation: opSign, status: "200", service: one, body: block(5, "a")},
		{operation: opSign, status: "200", service: one, body: block(5, "a"), accept: "application/json"},
		{operation: opSign, status: "400", service: one, body: "{"},
		{operation: opSign, status: "403", service: one, body: exit(1)},
		{operation: opSign, status: "404", service: one, body: block(5, "a"), key: 9},
		{operation: opSign, status: "408", service: one, broken: true},
		{operation: opSign, status: "412", service: voted, body: block(5, "a")},
		{operation: opSign, status: "413", service: one, body: long},
		{operation: opSign, status: "500", service: unhealed, body: block(5, "a")},
		{operation: opBatch, status: "200", service: batches, body: both},
		{operation: opBatch, status: "400", service: batches, body: "{"},
		{operation: opBatch, status: "404", service: one, body: both},
		{operation: opBatch, status: "408", service: batches, broken: true},
		{operation: opBatch, status: "413", service: batches, body: long},
		{operation: "GET /api/v1/eth2/publicKeys", status: "200", service: one},
		{operation: "GET /api/v1/eth2/publicKeys", status: "406", service: one, accept: "text/plain"},
		{operation: opWatermark, status: "200", service: one},
		{operation: "GET /api/v1/eth2/openapi.json", status: "200", service: one},
		{operation: opHealth, status: "200", service: one},
		{operation: opHealth, status: "503", service: unloaded},
		{operation: "GET /reload", status: "200", service: reloading},
		{operation: "POST /reload", status: "202", service: one},
		{operation: "POST /reload", status: "409", service: reloading},
		{operation: "GET /metrics", status: "200", service: one},
		{operation: "GET /metrics", status: "200", service: one, accept: "application/openmetrics-text"},
		{operation: "GET /eth/v1/keystores", status: "200", service: withTwo},
		{operation: opImport, status: "200", service: one, body: importBody(t, []string{sealed(t, 2, "x"), "{}"}, []string{"x", "y"}, "")},
		{operation: opImport, status: "400", service: one, body: "{"},
		{operation: opImport, status: "408", service: one, broken: true},
		{operation: opImport, status: "413", service: one, body: long},
		{operation: opImport, status: "500", service: unhealed, body: "{}"},
		{operation: opImport, status: "503", service: unloaded, body: "{}"},
		{operation: opDelete, status: "200", service: withTwo, body: deleteBody(public(t, 2).String(), public(t, 1).String())},
		{operation: opDelete, status: "400", service: one, body: "{"},
		{operation: opDelete, status: "408", service: one, broken: true},
		{operation: opDelete, status: "413", service: one, body: long},
		{operation: opDelete, status: "500", service: unhealed, body: "{}"},
		{operation: opDelete, status: "503", service: unloaded, body: "{}"},
	}
}

func (e exchange) do(t *testing.T) *httptest.ResponseRecorder {
	method, path, _ := strings.Cut(e.operation, " ")
	path = strings.Replace(path, "{identifier}", public(t, max(e.key, 1)).String(), 1)
	var body io.Reader = strings.NewReader(e.body)
	if e.broken {
		body = iotest.ErrReader(io.ErrUnexpectedEOF)
	}
	r := httptest.NewRequest(method, path, body)
	if e.accept != "" {
		r.Header.Set("Accept", e.accept)
	}
	service := e.service(t)
	handler := service.Handler()
	if strings.HasPrefix(path, "/eth/v1/") {
		handler = service.KeyManager()
	}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	return w
}

func TestEveryDescribedAnswerIsGivenAndEveryRouteIsDescribed(t *testing.T) {
	d := described(t)
	missing := map[string]bool{} // "METHOD path status content type", "" where there is none
	operations := map[string]bool{}
	for path, methods := range d.Paths {
		for method, operation := range methods {
			name := strings.ToUpper(method) + " " + path
			operations[name] = true
			for status, response := range operation.Responses {
				for contentType := range response.Content {
					missing[name+" "+status+" "+contentType] = true
				}
			}
		}
	}
	routes := ethereum.New(nil).Routes()
	for route := range routes {
		if !operations[route] {
			t.Errorf("%s is not described", route)
		}
	}
	for operation := range operations {
		if !routes[operation] {
			t.Errorf("%s is described and not served", operation)
		}
	}
	for _, e := range exchanges(t) {
		w := e.do(t)
		if got := fmt.Sprint(w.Code); got != e.status {
			t.Errorf("%s: got %s %s, want %s", e.operation, got, w.Body, e.status)
		}
		contentType, _, err := mime.ParseMediaType(w.Header().Get("Content-Type"))
		if err != nil {
			t.Errorf("%s %s: %v", e.operation, e.status, err)
		}
		checkAnswer(t, &d, e, contentType, w.Body.Bytes())
		delete(missing, e.operation+" "+e.status+" "+contentType)
	}
	for answer := range missing {
		t.Errorf("%s is described and never given", answer)
	}
}

// checkAnswer holds an answer against its described schema.
func checkAnswer(t *testing.T, d *openapi, e exchange, contentType string, body []byte) {
	method, path, _ := strings.Cut(e.operation, " ")
	described, ok := d.Paths[path][strings.ToLower(method)].Responses[e.status].Content[contentType]
	if !ok {
		t.Errorf("%s %s as %s is not described", e.operation, e.status, contentType)
		return
	}
	var value any = string(body)
	if contentType == "application/json" {
		if err := json.Unmarshal(body, &value); err != nil {
			t.Errorf("%s %s: %v", e.operation, e.status, err)
		}
	}
	if err := d.validate(described.Schema, value); err != nil {
		t.Errorf("%s %s: %v in %.300s", e.operation, e.status, err, body)
	}
}

// validate holds a value against the part of JSON Schema that the description uses.
func (d *openapi) validate(schema, value any) error {
	s := schema.(map[string]any)
	if ref, ok := s["$ref"].(string); ok {
		name := ref[strings.LastIndex(ref, "/")+1:]
		target, ok := d.Components.Schemas[name]
		if !ok {
			return fmt.Errorf("no schema %s", name)
		}
		return d.validate(target, value)
	}
	if options, ok := s["oneOf"].([]any); ok {
		return d.validateOne(options, value)
	}
	if wanted, ok := s["type"]; ok && !isType(wanted, value) {
		return fmt.Errorf("%v is not of type %v", value, wanted)
	}
	if options, ok := s["enum"].([]any); ok && !slices.Contains(options, value) {
		return fmt.Errorf("%v is none of %v", value, options)
	}
	if pattern, ok := s["pattern"].(string); ok && !regexp.MustCompile(pattern).MatchString(value.(string)) {
		return fmt.Errorf("%v is not %s", value, pattern)
	}
	return d.validateParts(s, value)
}

func (d *openapi) validateOne(options []any, value any) error {
	var failures []error
	for _, option := range options {
		err := d.validate(option, value)
		if err == nil {
			return nil
		}
		failures = append(failures, err)
	}
	return errors.Join(failures...)
}

func (d *openapi) validateParts(s map[string]any, value any) error {
	if list, ok := value.([]any); ok {
		for _, item := range list {
			if err := d.validate(s["items"], item); err != nil {
				return err
			}
		}
	}
	fields, _ := value.(map[string]any)
	required, _ := s["required"].([]any)
	for _, name := range required {
		if _, ok := fields[name.(string)]; !ok {
			return fmt.Errorf("%v is missing", name)
		}
	}
	properties, _ := s["properties"].(map[string]any)
	for name, field := range fields {
		if properties == nil {
			break
		}
		property, ok := properties[name]
		if !ok {
			return fmt.Errorf("%s is not described", name)
		}
		if err := d.validate(property, field); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func isType(wanted, value any) bool {
	if several, ok := wanted.([]any); ok {
		return slices.ContainsFunc(several, func(w any) bool { return isType(w, value) })
	}
	switch v := value.(type) {
	case nil:
		return wanted == "null"
	case bool:
		return wanted == "boolean"
	case string:
		return wanted == "string"
	case float64:
		return wanted == "integer" && v == float64(int64(v))
	case []any:
		return wanted == "array"
	}
	return wanted == "object"
}

func TestEveryTypeIsDescribedAndTheDescribedExamplesAreRead(t *testing.T) {
	d := described(t)
	var types []signing.Type
	for _, option := range d.Components.Schemas["SigningRequest"].(map[string]any)["oneOf"].([]any) {
		name := option.(map[string]any)["properties"].(map[string]any)["type"].(map[string]any)["enum"].([]any)[0]
		types = append(types, signing.Type(name.(string)))
	}
	slices.Sort(types)
	if !slices.Equal(types, signing.Types()) {
		t.Errorf("described %v, want %v", types, signing.Types())
	}
	for what, body := range map[string]string{"attestation": attestation(0, 1, "a"), "block": block(1, "a"), "exit": exit(1), "generic": generic("0x07000000")} {
		var value any
		if err := json.Unmarshal([]byte(strings.ReplaceAll(body, " ", "0")), &value); err != nil {
			t.Fatal(err)
		}
		if err := d.validate(map[string]any{"$ref": "#/components/schemas/SigningRequest"}, value); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

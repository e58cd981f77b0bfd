package eif

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"
	"unicode/utf8"
)

// ReproducibleBuildTime is the build time of every image built here: the real one would be the only bytes of an
// image that differ between two builds of one source.
const ReproducibleBuildTime = "1970-01-01T00:00:00Z"

// Metadata describes an image to people and tools. It is not measured: nothing may be decided by it.
type Metadata struct {
	ImageName     string
	ImageVersion  string
	BuildMetadata BuildMetadata
	// DockerInfo and CustomMetadata are compact JSON: an object, or null as AWS's eif_build writes where there is
	// none. Nil stands for the empty object.
	DockerInfo     json.RawMessage
	CustomMetadata json.RawMessage
}

// BuildMetadata says how an image was made.
type BuildMetadata struct {
	BuildTime        string // RFC 3339; ReproducibleBuildTime for images built here
	BuildTool        string
	BuildToolVersion string
	OperatingSystem  string
	KernelVersion    string
}

var (
	emptyObject = json.RawMessage("{}")
	null        = json.RawMessage("null")
)

// parseMetadata reads a metadata section: compact JSON with exactly the schema's members in its order, as AWS's tools
// write it. Missing, unknown or repeated members, spaces, and other spellings of a string are errors.
func parseMetadata(data []byte) (Metadata, error) {
	var m Metadata
	if !utf8.Valid(data) {
		return m, errors.New("not utf-8")
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return Metadata{}, err
	}
	m.DockerInfo, m.CustomMetadata = normal(m.DockerInfo), normal(m.CustomMetadata)
	canonical, err := m.marshal()
	if err != nil {
		return Metadata{}, err
	}
	if !bytes.Equal(canonical, data) {
		i := firstDifference(canonical, data)
		return Metadata{}, fmt.Errorf("at byte %d %s, want %s", i, excerpt(data, i), excerpt(canonical, i))
	}
	return m, nil
}

// marshal returns the metadata's one encoding.
func (m Metadata) marshal() ([]byte, error) {
	if err := m.validate(); err != nil {
		return nil, err
	}
	m.DockerInfo, m.CustomMetadata = explicit(m.DockerInfo), explicit(m.CustomMetadata)
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false) // as serde writes it
	if err := encoder.Encode(m); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buffer.Bytes(), []byte("\n")), nil
}

// normal turns the empty object into nil, so that equal metadata are equal values.
func normal(raw json.RawMessage) json.RawMessage {
	if bytes.Equal(raw, emptyObject) {
		return nil
	}
	return raw
}

func explicit(raw json.RawMessage) json.RawMessage {
	if len(raw) == 0 {
		return emptyObject
	}
	return raw
}

func (m Metadata) validate() error {
	for _, field := range []struct{ name, value string }{
		{"ImageName", m.ImageName},
		{"ImageVersion", m.ImageVersion},
		{"BuildTool", m.BuildMetadata.BuildTool},
		{"BuildToolVersion", m.BuildMetadata.BuildToolVersion},
		{"OperatingSystem", m.BuildMetadata.OperatingSystem},
		{"KernelVersion", m.BuildMetadata.KernelVersion},
	} {
		if field.value == "" || !utf8.ValidString(field.value) {
			return fmt.Errorf("%s is %q, want text", field.name, field.value)
		}
	}
	if _, err := time.Parse(time.RFC3339Nano, m.BuildMetadata.BuildTime); err != nil {
		return fmt.Errorf("BuildTime is %q, want an RFC 3339 time", m.BuildMetadata.BuildTime)
	}
	if err := validateObject(m.DockerInfo); err != nil {
		return fmt.Errorf("DockerInfo: %w", err)
	}
	if err := validateObject(m.CustomMetadata); err != nil {
		return fmt.Errorf("CustomMetadata: %w", err)
	}
	return nil
}

// validateObject accepts null and objects without repeated members.
func validateObject(raw json.RawMessage) error {
	if len(raw) == 0 || bytes.Equal(raw, null) {
		return nil
	}
	if raw[0] != '{' {
		return fmt.Errorf("got %s, want an object or null", excerpt(raw, 0))
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	if err := skipValue(decoder); err != nil {
		return err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return errors.New("data after the object")
	}
	return nil
}

// skipValue reads one JSON value and rejects repeated member names in it.
func skipValue(decoder *json.Decoder) error {
	token, err := decoder.Token()
	if err != nil {
		return err
	}
	delimiter, ok := token.(json.Delim)
	if !ok {
		return nil
	}
	seen := map[string]bool{}
	for decoder.More() {
		if delimiter == '{' {
			if err := memberName(decoder, seen); err != nil {
				return err
			}
		}
		if err := skipValue(decoder); err != nil {
			return err
		}
	}
	_, err = decoder.Token()
	return err
}

// memberName reads the name of an object's next member.
func memberName(decoder *json.Decoder, seen map[string]bool) error {
	token, err := decoder.Token()
	if err != nil {
		return err
	}
	name, _ := token.(string)
	if seen[name] {
		return fmt.Errorf("member %q given twice", name)
	}
	seen[name] = true
	return nil
}

// excerpt quotes what stands at an offset.
func excerpt(data []byte, at int) string {
	const limit = 24
	if at >= len(data) {
		return "the end"
	}
	return strconv.QuoteToASCII(string(data[at:min(len(data), at+limit)]))
}

// firstDifference returns the first index at which a and b differ, or the length of the shorter.
func firstDifference(a, b []byte) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

package main

import (
	"bytes"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"holdfast/enclave/bundle"
	"holdfast/keys/holder"
)

// An object is a configuration that is being edited. Numbers keep their digits.
type object map[string]any

func parseObject(data []byte) (object, error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var o object
	if err := decoder.Decode(&o); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); err != io.EOF || o == nil {
		return nil, errors.New("want one object")
	}
	return o, nil
}

// encode writes a configuration for people: indented, fields in order.
func (o object) encode() ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	err := encoder.Encode(o)
	return out.Bytes(), err
}

// clients returns the clients of a configuration.
func (o object) clients() []any {
	clients, _ := o["clients"].([]any)
	return clients
}

// client finds a client by its name.
func (o object) client(name string) object {
	for _, c := range o.clients() {
		if c, ok := c.(map[string]any); ok && c["name"] == name {
			return c
		}
	}
	return nil
}

// nobody stands in for the first client while there is none, so that the rest of a
// configuration can be checked. It is never written.
var nobody = object{"name": "nobody", "any": true, "keys": "all"}

// check parses a configuration strictly. One that has no client yet is read as if
// it had, and complete is false.
func (o object) check() (c *bundle.Configuration, complete bool, err error) {
	complete = len(o.clients()) > 0 || o["known_clients"] != nil
	if !complete {
		with := object{}
		for name, value := range o {
			with[name] = value
		}
		with["clients"] = []any{nobody}
		o = with
	}
	data, err := o.encode()
	if err != nil {
		return nil, complete, err
	}
	c, err = bundle.ParseConfiguration(data)
	return c, complete, err
}

// readConfiguration reads a folder's configuration and checks it.
func readConfiguration(f *holder.Folder) (o object, c *bundle.Configuration, complete bool, err error) {
	data, err := f.Configuration()
	if err != nil {
		return nil, nil, false, err
	}
	if o, err = parseObject(data); err == nil {
		c, complete, err = o.check()
	}
	if err == nil && complete {
		// The file itself, in which a field may come twice.
		c, err = bundle.ParseConfiguration(data)
	}
	if err != nil {
		return nil, nil, false, malformed(fmt.Errorf("%s: %w", f.Path(holder.ConfigurationFile), err))
	}
	return o, c, complete, nil
}

// register16 returns what PCR16 of an enclave shows once a configuration's digest
// was extended into it: SHA-384 over 48 zeros and the digest (NSM API, ExtendPCR).
func register16(digest [sha512.Size384]byte) [sha512.Size384]byte {
	return sha512.Sum384(append(make([]byte, sha512.Size384), digest[:]...))
}

// describeConfiguration prints what a key policy and an auditor pin.
func describeConfiguration(w io.Writer, c *bundle.Configuration) {
	digest := c.Digest()
	fmt.Fprintf(w, "configuration  %s\n", hex.EncodeToString(digest[:]))
	pcr := register16(digest)
	fmt.Fprintf(w, "PCR16          %s\n", hex.EncodeToString(pcr[:]))
}

// purpose is the encryption context that a key policy asks for.
const purpose = "holdfast-bundle"

// describePolicy prints the command that writes the key policy of a configuration.
func describePolicy(w io.Writer, c *bundle.Configuration) {
	if c.KMS == nil {
		return
	}
	digest := c.Digest()
	fmt.Fprintf(w, `
the key policy, so that %s
answers this configuration in the published images only:
  verify policy generate --purpose %s \
    --administrator ARN --provisioner ARN --parent ARN \
    --configuration %s
`, c.KMS.Key, purpose, hex.EncodeToString(digest[:]))
}

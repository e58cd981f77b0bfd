package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"

	"holdfast/enclave/control/message"
	"holdfast/enclave/slashing"
)

const headHelp = `usage: parent slashing head [flags]

Prints, as JSON, the journal that this start of the enclave read, and the challenge that it drew: what an
operator signs with 'parent slashing vouch -head FILE'.

  parent slashing head -control hf.sock >head.json

flags:
`

func slashingHead(ctx context.Context, args []string, stdout, _ io.Writer) error {
	f := newFlags("slashing head", headHelp, stdout)
	c, err := f.enclave(args, 0, 0)
	if err != nil {
		return err
	}
	defer c.Close()
	head, err := c.Head(ctx)
	if err != nil {
		return err
	}
	return printJSON(stdout, head)
}

const vouchHelp = `usage: parent slashing vouch -key FILE [-head FILE] [-expect DIGEST] [-complete] [flags]
       parent slashing vouch -statement FILE [flags]

After a restart in strict freshness the enclave signs nothing at or below a floor, because a host could have
put back an older journal. Whoever knows that it did not, and holds the operator's key that the bundle's
configuration names, may say so: the floor is then lifted for this start of the enclave.

A statement on an old journal can have validators slashed. The head that is shown is what this machine gave
to the enclave, so that this machine shows it proves nothing: sign only if nobody can have restored an older
copy of its disk, or if the head is the one that you noted when the enclave stopped. With -expect nothing
but that one is signed.

  parent slashing vouch -control hf.sock -key operator.pem -expect 5f0d…
  parent slashing vouch -head head.json -key operator.pem -expect 5f0d… >statement.json
  parent slashing vouch -control hf.sock -statement statement.json

A floor that an earlier start imposed on the journal, and that nobody vouched for, stands nevertheless: that
start may have read an older copy. With -complete the statement says besides that nothing that was ever
signed with these keys is missing from the journal, and lifts that floor too.

  parent slashing vouch -control hf.sock -key operator.pem -expect 5f0d… -complete

With -key alone the head is asked for, shown, signed and sent. With -head it comes from a file that 'parent
slashing head' wrote, and the statement goes to standard output: no enclave is needed. With -statement a
statement is sent that was signed elsewhere.

flags:
`

// A vouching is one invocation of vouch.
type vouching struct {
	socket, key, head, statement, expect string
	complete                             bool
	stdout, stderr                       io.Writer
}

func slashingVouch(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	v := &vouching{stdout: stdout, stderr: stderr}
	f := newFlags("slashing vouch", vouchHelp, stdout)
	socket := f.control()
	f.StringVar(&v.key, "key", "", "the operator's Ed25519 private key, a PKCS#8 PEM `file`")
	f.StringVar(&v.head, "head", "", "sign the head in this `file` and print the statement")
	f.StringVar(&v.statement, "statement", "", "send the statement in this `file`")
	f.StringVar(&v.expect, "expect", "", "sign only if the head's `digest` is this, 64 hexadecimal digits")
	f.BoolVar(&v.complete, "complete", false, "say too that the journal lacks nothing that was ever signed")
	if err := f.parse(args, 0, 0); err != nil {
		return err
	}
	v.socket = *socket
	switch {
	case v.statement != "" && (v.key != "" || v.head != "" || v.expect != "" || v.complete):
		return usagef("-statement goes with none of -key, -head, -expect and -complete (hint: parent slashing vouch -h)")
	case v.statement == "" && v.key == "":
		return usagef("want -key or -statement (hint: parent slashing vouch -h)")
	case v.statement != "":
		return v.forward(ctx)
	case v.head != "":
		return v.offline()
	}
	return v.online(ctx)
}

// forward sends a statement that was signed elsewhere.
func (v *vouching) forward(ctx context.Context) error {
	var statement message.Statement
	if err := readJSON(v.statement, &statement); err != nil {
		return err
	}
	return v.send(ctx, statement)
}

func (v *vouching) send(ctx context.Context, statement message.Statement) error {
	c, err := reach(v.socket)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Vouch(ctx, statement); err != nil {
		return err
	}
	fmt.Fprintln(v.stdout, "the enclave believes the journal: the floor is lifted")
	return nil
}

// offline signs a head from a file.
func (v *vouching) offline() error {
	var head message.Head
	if err := readJSON(v.head, &head); err != nil {
		return err
	}
	statement, err := v.sign(head)
	if err != nil {
		return err
	}
	return printJSON(v.stdout, statement)
}

// online signs the head of a running enclave.
func (v *vouching) online(ctx context.Context) error {
	c, err := reach(v.socket)
	if err != nil {
		return err
	}
	defer c.Close()
	head, err := c.Head(ctx)
	if err != nil {
		return err
	}
	statement, err := v.sign(head)
	if err != nil {
		return err
	}
	return v.send(ctx, statement)
}

// sign shows a head and signs it.
func (v *vouching) sign(head message.Head) (message.Statement, error) {
	key, err := readOperatorKey(v.key)
	if err != nil {
		return message.Statement{}, err
	}
	statement, err := parseHead(head)
	if err != nil {
		return message.Statement{}, err
	}
	statement.Complete = v.complete
	fmt.Fprintf(v.stderr, "journal head   %x\nrecords        %d\nconfiguration  %x\nchallenge      %x\n",
		statement.Head, head.Sequence, statement.Configuration, statement.Challenge)
	if v.expect != "" && v.expect != hex.EncodeToString(statement.Head[:]) {
		return message.Statement{}, fmt.Errorf("the journal's head is not the one expected, %.80q: nothing was signed", v.expect)
	}
	signature, err := statement.Sign(key)
	if err != nil {
		return message.Statement{}, err
	}
	return message.Statement{
		Challenge: hex.EncodeToString(statement.Challenge[:]),
		Head:      hex.EncodeToString(statement.Head[:]),
		Complete:  statement.Complete,
		Signature: hex.EncodeToString(signature),
	}, nil
}

func parseHead(head message.Head) (s slashing.Statement, err error) {
	for _, part := range []struct {
		name, text string
		into       []byte
	}{
		{"configuration", head.Configuration, s.Configuration[:]}, {"challenge", head.Challenge, s.Challenge[:]}, {"head", head.Head, s.Head[:]},
	} {
		data, err := hex.DecodeString(part.text)
		if err != nil || len(data) != len(part.into) {
			return slashing.Statement{}, fmt.Errorf("journal head: %s: want %d hexadecimal digits", part.name, 2*len(part.into))
		}
		copy(part.into, data)
	}
	return s, nil
}

// maxSmallFile bounds heads, statements and keys.
const maxSmallFile = 64 << 10

func readSmall(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxSmallFile+1))
	if err == nil && len(data) > maxSmallFile {
		err = fmt.Errorf("%s: larger than %d bytes", path, maxSmallFile)
	}
	return data, err
}

// readJSON reads one value, strictly.
func readJSON(path string, into any) error {
	data, err := readSmall(path)
	if err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: data after the JSON", path)
	}
	return nil
}

// readOperatorKey reads a private key. No error shows anything of it.
func readOperatorKey(path string) (ed25519.PrivateKey, error) {
	data, err := readSmall(path)
	if err != nil {
		return nil, err
	}
	defer clear(data)
	block, rest := pem.Decode(data)
	if block == nil || block.Type != "PRIVATE KEY" || len(bytes.TrimSpace(rest)) > 0 {
		return nil, fmt.Errorf("%s: want one PEM block, PRIVATE KEY (PKCS#8)", path)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: not a PKCS#8 private key", path)
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s: got a %T, want an Ed25519 key", path, parsed)
	}
	return key, nil
}

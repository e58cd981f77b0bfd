package bundle_test

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"holdfast/enclave/bundle"
)

func TestMisshapenSecretsAreRefused(t *testing.T) {
	d := draft()
	good := bundle.EncodeSecrets(&d.Secrets)
	label := bytes.IndexByte(good, '\n') + 1
	length := func(at int, n uint32) []byte {
		out := bytes.Clone(good)
		binary.BigEndian.PutUint32(out[at:], n)
		return out
	}
	validators := len(good) - 3*32 - 4
	for name, test := range map[string]struct {
		data []byte
		want string
	}{
		"empty":               {nil, "at the start of the secrets"},
		"another label":       {append([]byte("H"), good[1:]...), "at the start of the secrets"},
		"label alone":         {good[:label], "TLS certificate: truncated before a length"},
		"long certificate":    {length(label, 64<<10+1), "TLS certificate: got 65537, want at most 65536"},
		"longest length":      {length(label, 1<<32-1), "want at most 65536"},
		"certificate cut":     {good[:label+5], "TLS certificate: truncated"},
		"too many validators": {length(validators, 16385), "validators: got 16385"},
		"validators cut":      {good[:len(good)-1], "validators: truncated: got 95 bytes, want 96"},
		"more after the end":  {append(bytes.Clone(good), 0), "1 bytes after the end"},
	} {
		if s, err := bundle.DecodeSecrets(test.data); err == nil || s != nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
}

func FuzzDecodeSecrets(f *testing.F) {
	for _, d := range []bundle.Draft{draft(), plain(), {}} {
		f.Add(bundle.EncodeSecrets(&d.Secrets))
	}
	f.Add([]byte("holdfast/secrets/v1\n\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := bundle.DecodeSecrets(data)
		if (err == nil) != (s != nil) {
			t.Fatalf("got %v and %v", s, err)
		}
		if err == nil && !bytes.Equal(bundle.EncodeSecrets(s), data) {
			t.Fatalf("%x is not the one encoding of its secrets", data)
		}
	})
}

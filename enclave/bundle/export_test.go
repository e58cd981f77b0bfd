package bundle

import (
	"testing"

	"holdfast/enclave/secret"
	"holdfast/verify/envelope"
)

// Reseal seals a draft's secrets, in the order of their own public keys, into an
// envelope whose clear part says something else.
func Reseal(t testing.TB, e *envelope.Envelope, d Draft, dataKey secret.Bytes) {
	t.Helper()
	order, err := d.list(&envelope.Envelope{})
	if err == nil {
		e.Sealed, err = encrypt(dataKey, d.Secrets.encode(order), e.AssociatedData())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// EncodeSecrets and DecodeSecrets are the encoding of what is sealed.
func EncodeSecrets(s *Secrets) []byte {
	order := make([]int, len(s.Validators))
	for i := range order {
		order[i] = i
	}
	return s.encode(order)
}

// DecodeSecrets returns the secrets with their validators.
func DecodeSecrets(data []byte) (*Secrets, error) {
	s, scalars, err := decode(data)
	if err != nil {
		return nil, err
	}
	for ; len(scalars) > 0; scalars = scalars[scalarSize:] {
		s.Validators = append(s.Validators, secret.New(scalars[:scalarSize]))
	}
	return s, nil
}

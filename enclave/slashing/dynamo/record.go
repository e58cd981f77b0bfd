package dynamo

import (
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"holdfast/enclave/secret"
	"holdfast/enclave/slashing"
)

// The attributes of an item.
const (
	attributeKey    = "pk"     // string: what the record is about
	attributeRecord = "record" // binary
	attributeMAC    = "mac"    // binary
)

// The domains of the derived key and of the MAC.
const (
	keyLabel = "holdfast/slashing/dynamodb/key/v1"
	macLabel = "holdfast/slashing/dynamodb/record/v1"
)

const (
	keySize = 32 // of Config.Key

	recordVersion = 1
	writeIDSize   = 16
	headerSize    = 1 + 8 + writeIDSize
)

func deriveKey(key secret.Bytes) ([]byte, error) {
	if key.Len() != keySize {
		return nil, fmt.Errorf("slashing key of %d bytes, want %d", key.Len(), keySize)
	}
	return hkdf.Key(sha256.New, key.Reveal(), nil, keyLabel, sha256.Size)
}

// A partition names what an item is about. Every one begins with the network, so that networks never mix.
func partition(network slashing.Root, name string) string { return fmt.Sprintf("%x/%s", network, name) }

func keyPartition(network slashing.Root, key slashing.PublicKey) string {
	return partition(network, fmt.Sprintf("%s%x", keyPrefix, key))
}

func bundlePartition(network slashing.Root, name string) string {
	return partition(network, "bundle/"+name)
}

func probePartition(network slashing.Root) string { return partition(network, "probe") }

// keyPrefix comes before a public key's hex digits.
const keyPrefix = "0x"

// A record is the content of an item: a payload, the revision of it, and who wrote it.
//
//	version 1 byte || revision 8 bytes, big-endian, from 1 || write id 16 random bytes || payload
//
// The write id makes every write's bytes different, so that a condition on them means this very write.
type record struct {
	revision uint64
	payload  []byte
	encoded  []byte // the attribute "record", all of the above
	mac      []byte // the attribute "mac"
}

func (s *Store) newRecord(partition string, previous *record, payload []byte) *record {
	r := &record{revision: 1, payload: payload}
	if previous != nil {
		r.revision = previous.revision + 1
	}
	var id [writeIDSize]byte
	rand.Read(id[:]) // never fails
	r.encoded = append(binary.BigEndian.AppendUint64([]byte{recordVersion}, r.revision), id[:]...)
	r.encoded = append(r.encoded, payload...)
	r.mac = s.sum(partition, r.encoded)
	return r
}

// sum is the MAC of a record. The partition holds the genesis validators root and the public key.
func (s *Store) sum(partition string, encoded []byte) []byte {
	h := hmac.New(sha256.New, s.mac)
	for _, part := range []string{macLabel, s.table, partition} {
		h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(part))))
		h.Write([]byte(part))
	}
	h.Write(encoded)
	return h.Sum(nil)
}

func itemKey(partition string) map[string]types.AttributeValue {
	return map[string]types.AttributeValue{attributeKey: &types.AttributeValueMemberS{Value: partition}}
}

func (r *record) item(partition string) map[string]types.AttributeValue {
	item := itemKey(partition)
	item[attributeRecord] = &types.AttributeValueMemberB{Value: r.encoded}
	item[attributeMAC] = &types.AttributeValueMemberB{Value: r.mac}
	return item
}

// parseItem reads an item and believes it only with the right MAC.
func (s *Store) parseItem(partition string, item map[string]types.AttributeValue) (*record, error) {
	encoded, mac := binaryAttribute(item, attributeRecord), binaryAttribute(item, attributeMAC)
	if !hmac.Equal(mac, s.sum(partition, encoded)) {
		return nil, errors.New("its MAC is wrong: it was made under another bundle's slashing key or for another table, or was tampered with")
	}
	if len(encoded) < headerSize || encoded[0] != recordVersion {
		return nil, errors.New("its version is not known here")
	}
	return &record{
		revision: binary.BigEndian.Uint64(encoded[1:]),
		payload:  encoded[headerSize:],
		encoded:  encoded,
		mac:      mac,
	}, nil
}

// binaryAttribute returns an attribute, or nothing if it is absent or of another type.
func binaryAttribute(item map[string]types.AttributeValue, name string) []byte {
	if b, ok := item[name].(*types.AttributeValueMemberB); ok {
		return b.Value
	}
	return nil
}

// adopt takes what the table says an item is, nil if it has none. What contradicts what this enclave has seen is
// an error, and then the entry keeps what it knew: so it is never overwritten.
func (s *Store) adopt(e *entry, item map[string]types.AttributeValue) error {
	found, err := s.judge(e, item)
	if err != nil {
		err = fmt.Errorf("slashing record %s: %w", e.partition, err)
		s.log.Error("slashing record refused", "error", err)
		return err
	}
	e.known = found
	return nil
}

func (s *Store) judge(e *entry, item map[string]types.AttributeValue) (*record, error) {
	if len(item) == 0 {
		if e.known != nil {
			return nil, fmt.Errorf("it vanished from the table, where it had revision %d", e.known.revision)
		}
		return nil, nil
	}
	found, err := s.parseItem(e.partition, item)
	if err != nil {
		return nil, err
	}
	if e.known != nil && found.revision <= e.known.revision && !bytes.Equal(found.encoded, e.known.encoded) {
		return nil, fmt.Errorf("it was rolled back: the table has another revision %d, but revision %d was seen here", found.revision, e.known.revision)
	}
	return found, nil
}

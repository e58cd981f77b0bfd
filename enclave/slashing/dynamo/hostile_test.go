package dynamo_test

import (
	"bytes"
	"log/slog"
	"maps"
	"reflect"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"holdfast/enclave/secret"
	"holdfast/enclave/slashing"
)

type item = map[string]types.AttributeValue

// items returns all of a table, by partition.
func (tab *table) items(t testing.TB) map[string]item {
	t.Helper()
	out, err := tab.admin.Scan(t.Context(), &dynamodb.ScanInput{TableName: aws.String(tab.name), ConsistentRead: aws.Bool(true)})
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]item)
	for _, i := range out.Items {
		all[i["pk"].(*types.AttributeValueMemberS).Value] = i
	}
	return all
}

// one returns the item of a key.
func (tab *table) one(t testing.TB, k slashing.PublicKey) item {
	t.Helper()
	for name, i := range tab.items(t) {
		if strings.HasSuffix(name, hexKey(k)) {
			return i
		}
	}
	return nil
}

func hexKey(k slashing.PublicKey) string {
	const digits = "0123456789abcdef"
	var b strings.Builder
	for _, c := range k {
		b.WriteByte(digits[c>>4])
		b.WriteByte(digits[c&15])
	}
	return b.String()
}

func (tab *table) put(t *testing.T, i item) {
	t.Helper()
	if _, err := tab.admin.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String(tab.name), Item: i}); err != nil {
		t.Fatal(err)
	}
}

func (tab *table) remove(t *testing.T, i item) {
	t.Helper()
	_, err := tab.admin.DeleteItem(t.Context(), &dynamodb.DeleteItemInput{TableName: aws.String(tab.name), Key: item{"pk": i["pk"]}})
	if err != nil {
		t.Fatal(err)
	}
}

// with returns the item with another record and MAC.
func with(i, other item) item {
	i = maps.Clone(i)
	i["record"], i["mac"] = other["record"], other["mac"]
	return i
}

func flipped(i item, attribute string, at int) item {
	i = maps.Clone(i)
	b := bytes.Clone(i[attribute].(*types.AttributeValueMemberB).Value)
	b[at] ^= 1
	i[attribute] = &types.AttributeValueMemberB{Value: b}
	return i
}

func without(i item, attribute string) item {
	i = maps.Clone(i)
	delete(i, attribute)
	return i
}

// What anybody but the enclave may do to a table must fail the key, change nothing, harm no other key, and pass
// when the table is put right.
func TestARecordThatCannotBeTrustedFailsItsKeyAndIsNeverOverwritten(t *testing.T) {
	endpoint := local.Server(t).Endpoint()
	for name, c := range map[string]struct {
		change func(now, old, another, foreign item) item
		want   string
	}{
		"a bit of the state":      {func(now, _, _, _ item) item { return flipped(now, "record", 30) }, "MAC is wrong"},
		"a bit of the revision":   {func(now, _, _, _ item) item { return flipped(now, "record", 8) }, "MAC is wrong"},
		"a bit of the version":    {func(now, _, _, _ item) item { return flipped(now, "record", 0) }, "MAC is wrong"},
		"a bit of the MAC":        {func(now, _, _, _ item) item { return flipped(now, "mac", 0) }, "MAC is wrong"},
		"no MAC":                  {func(now, _, _, _ item) item { return without(now, "mac") }, "MAC is wrong"},
		"no record":               {func(now, _, _, _ item) item { return without(now, "record") }, "MAC is wrong"},
		"another key's record":    {func(now, _, another, _ item) item { return with(now, another) }, "MAC is wrong"},
		"another table's record":  {func(now, _, _, foreign item) item { return with(now, foreign) }, "MAC is wrong"},
		"an older record, replay": {func(_, old, _, _ item) item { return old }, "rolled back"},
	} {
		t.Run(name, func(t *testing.T) {
			tab, other := newTable(t, endpoint), newTable(t, endpoint)
			s := open(t, tab.config(key(0), key(1)))
			expect(t, s, key(0), vote(1, 2, 1), 1)
			old := tab.one(t, key(0))
			expect(t, s, key(0), vote(2, 3, 1), 1)
			expect(t, s, key(1), vote(1, 2, 1), 1)
			expect(t, open(t, other.config()), key(0), vote(2, 3, 1), 1)
			now := tab.one(t, key(0))
			bad := c.change(now, old, tab.one(t, key(1)), other.one(t, key(0)))
			tab.put(t, bad)

			d := record(t.Context(), s, key(0), vote(3, 4, 1))
			if d.Answer != slashing.Failed || !strings.Contains(d.Err.Error(), c.want) {
				t.Errorf("got answer %d, %v; want a failure with %q", d.Answer, d.Err, c.want)
			}
			if _, err := s.Export(t.Context(), nil); err == nil {
				t.Error("the export passes over it")
			}
			history := slashing.Interchange{GenesisValidatorsRoot: network, States: map[slashing.PublicKey]slashing.State{
				key(0): {Block: slashing.BlockMark{Signed: true, Slot: 9}}, key(1): {Block: slashing.BlockMark{Signed: true, Slot: 9}},
			}}
			if s.Import(t.Context(), history) == nil {
				t.Error("history is imported over it")
			}
			if got := tab.one(t, key(0)); !reflect.DeepEqual(got, bad) {
				t.Errorf("it was overwritten: %v", got)
			}
			expect(t, s, key(1), proposal(5, 1), 1) // nothing of the import, and the key is well
			tab.put(t, now)
			expect(t, s, key(0), vote(3, 4, 1), 1)
		})
	}
}

func TestARecordThatVanishedFailsItsKey(t *testing.T) {
	tab := newTable(t, local.Server(t).Endpoint())
	s := open(t, tab.config(key(0)))
	expect(t, s, key(0), vote(1, 2, 1), 1)
	now := tab.one(t, key(0))
	tab.remove(t, now)
	d := record(t.Context(), s, key(0), vote(2, 3, 1))
	if d.Answer != slashing.Failed || !strings.Contains(d.Err.Error(), "vanished") {
		t.Errorf("got answer %d, %v", d.Answer, d.Err)
	}
	if got := tab.one(t, key(0)); got != nil {
		t.Errorf("it was written anew: %v", got)
	}
	if _, err := s.Export(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "vanished") {
		t.Errorf("export: %v", err)
	}
	tab.put(t, now)
	expect(t, s, key(0), vote(2, 3, 1), 1)
}

func TestARecordThatIsBadAtTheStartIsLoggedAndFailsItsKeyAlone(t *testing.T) {
	tab := newTable(t, local.Server(t).Endpoint())
	first := open(t, tab.config())
	expect(t, first, key(0), vote(1, 2, 1), 1)
	expect(t, first, key(1), vote(1, 2, 1), 1)
	tab.put(t, flipped(tab.one(t, key(0)), "mac", 3))
	var log bytes.Buffer
	c := tab.config(key(0), key(1))
	c.Log = slog.New(slog.NewTextHandler(&log, nil))
	s := open(t, c)
	if !strings.Contains(log.String(), hexKey(key(0))) {
		t.Errorf("log: %s", &log)
	}
	expect(t, s, key(0), vote(2, 3, 1), 0)
	expect(t, s, key(1), vote(2, 3, 1), 1)
}

func TestRecordsOfAnotherSlashingKeyAreRefused(t *testing.T) {
	tab := newTable(t, local.Server(t).Endpoint())
	expect(t, open(t, tab.config()), key(0), vote(1, 2, 1), 1)
	c := tab.config(key(0))
	c.Key = secret.New(make([]byte, 32))
	expect(t, open(t, c), key(0), vote(2, 3, 1), 0)
}

func TestVersionsOfABundleCannotBeRolledBackUnderARunningEnclave(t *testing.T) {
	tab := newTable(t, local.Server(t).Endpoint())
	s := open(t, tab.config())
	if err := s.Advance(t.Context(), "bundle", 1); err != nil {
		t.Fatal(err)
	}
	before := tab.items(t)
	if err := s.Advance(t.Context(), "bundle", 2); err != nil {
		t.Fatal(err)
	}
	for _, i := range before {
		tab.put(t, i)
	}
	if err := s.Advance(t.Context(), "bundle", 3); err == nil || !strings.Contains(err.Error(), "rolled back") {
		t.Errorf("got %v", err)
	}
}

func TestNetworksShareATableAndNoRecord(t *testing.T) {
	tab := newTable(t, local.Server(t).Endpoint())
	s := open(t, tab.config())
	expect(t, s, key(0), vote(5, 6, 1), 1)
	c := tab.config()
	c.Network = slashing.Root{31: 2}
	other := open(t, c)
	if d := other.Record(t.Context(), c.Network, key(0), vote(1, 2, 1)); d.Answer != slashing.Allowed {
		t.Errorf("got answer %d, %v", d.Answer, d.Err)
	}
	if all, err := other.Export(t.Context(), nil); err != nil || len(all.States) != 1 || all.States[key(0)].Attestation.Target != 2 {
		t.Errorf("got %+v, %v", all, err)
	}
}

package dynamo_test

import (
	"maps"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"holdfast/enclave/slashing"
)

// The benchmarks ask for duties of 1, 8 and 64 keys side by side, beside as many bare writes to the same program:
// items of the same size, without a condition. An operation is one duty or one write.

func BenchmarkDuty1(b *testing.B)  { benchmarkDuties(b, 1) }
func BenchmarkDuty8(b *testing.B)  { benchmarkDuties(b, 8) }
func BenchmarkDuty64(b *testing.B) { benchmarkDuties(b, 64) }

func BenchmarkBareWrite1(b *testing.B)  { benchmarkBareWrites(b, 1) }
func BenchmarkBareWrite8(b *testing.B)  { benchmarkBareWrites(b, 8) }
func BenchmarkBareWrite64(b *testing.B) { benchmarkBareWrites(b, 64) }

// sideBySide calls do b.N times, from as many goroutines as there are keys, each with its own key.
func sideBySide(b *testing.B, keys int, do func(k slashing.PublicKey, n uint64)) {
	var left atomic.Int64
	left.Store(int64(b.N))
	var group sync.WaitGroup
	b.ResetTimer()
	for k := range keys {
		group.Go(func() {
			for n := uint64(0); left.Add(-1) >= 0; n++ {
				do(key(k), n)
			}
		})
	}
	group.Wait()
	b.StopTimer()
}

func benchmarkDuties(b *testing.B, keys int) {
	c := newTable(b, local.Server(b).Endpoint()).config()
	for n := range keys {
		c.Keys = append(c.Keys, key(n))
	}
	s, w := openOn(b, c)
	sideBySide(b, keys, func(k slashing.PublicKey, n uint64) {
		if d := record(b.Context(), s, k, vote(n, n+1, 1)); d.Answer != slashing.Allowed {
			b.Error(d.Err)
		}
	})
	all, _ := w.count()
	b.ReportMetric(float64(all)/float64(b.N), "requests/duty")
}

// named returns the item under another partition key.
func named(i item, k slashing.PublicKey) item {
	i = maps.Clone(i)
	i["pk"] = &types.AttributeValueMemberS{Value: hexKey(k)}
	return i
}

func benchmarkBareWrites(b *testing.B, keys int) {
	tab := newTable(b, local.Server(b).Endpoint())
	if d := record(b.Context(), open(b, tab.config()), key(0), vote(1, 2, 1)); d.Answer != slashing.Allowed {
		b.Fatal(d.Err)
	}
	sample := tab.one(b, key(0))
	client := dynamodb.New(dynamodb.Options{
		Region: "ddblocal", BaseEndpoint: aws.String(tab.endpoint), Credentials: credentialsProvider(), Retryer: aws.NopRetryer{},
		HTTPClient: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}},
	})
	sideBySide(b, keys, func(k slashing.PublicKey, _ uint64) {
		if _, err := client.PutItem(b.Context(), &dynamodb.PutItemInput{TableName: aws.String(tab.name), Item: named(sample, k)}); err != nil {
			b.Error(err)
		}
	})
}

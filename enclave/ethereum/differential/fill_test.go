package differential

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strconv"
	"strings"

	"github.com/OffchainLabs/go-bitfield"
	"github.com/holiman/uint256"
)

// maxElements bounds the random lists of composite elements, whose limits are too
// high to fill often. Bitlists go up to their limit.
const maxElements = 3

// fill sets every field of the struct that target points at to a random value of a
// shape that its ssz tags allow.
func fill(random *rand.Rand, target any) {
	fillStruct(random, reflect.ValueOf(target).Elem())
}

func fillStruct(random *rand.Rand, v reflect.Value) {
	for i := range v.NumField() {
		fillValue(random, v.Field(i), v.Type().Field(i).Tag)
	}
}

func fillValue(random *rand.Rand, v reflect.Value, tag reflect.StructTag) {
	switch v.Kind() {
	case reflect.Uint64:
		v.SetUint(randomUint64(random))
	case reflect.Uint8, reflect.Uint32:
		v.SetUint(uint64(random.Uint32()) >> (32 - v.Type().Bits()))
	case reflect.Bool:
		v.SetBool(random.IntN(2) == 0)
	case reflect.Array:
		for i := range v.Len() {
			fillValue(random, v.Index(i), "")
		}
	case reflect.Struct:
		fillStruct(random, v)
	case reflect.Pointer:
		fillPointer(random, v)
	case reflect.Slice:
		fillSlice(random, v, tag)
	default:
		panic(fmt.Sprintf("no random value for %v", v.Type()))
	}
}

// randomUint64 gives small and extreme numbers their share.
func randomUint64(random *rand.Rand) uint64 {
	switch random.IntN(4) {
	case 0:
		return random.Uint64N(100)
	case 1:
		return 1<<64 - 1 - random.Uint64N(3)
	}
	return random.Uint64()
}

func fillPointer(random *rand.Rand, v reflect.Value) {
	v.Set(reflect.New(v.Type().Elem()))
	if number, ok := v.Interface().(*uint256.Int); ok {
		number.SetUint64(random.Uint64())
		return
	}
	fillStruct(random, v.Elem())
}

func fillSlice(random *rand.Rand, v reflect.Value, tag reflect.StructTag) {
	size, isVector := dimension(tag.Get("ssz-size"))
	limit, _ := dimension(tag.Get("ssz-max"))
	if v.Type() == reflect.TypeFor[bitfield.Bitlist]() {
		v.SetBytes(randomBitlist(random, limit))
		return
	}
	n := size
	if !isVector {
		n = random.IntN(min(limit, maxElements) + 1)
	}
	v.Set(reflect.MakeSlice(v.Type(), n, n))
	for i := range n {
		fillValue(random, v.Index(i), inner(tag))
	}
}

// dimension reads the first of the comma-separated sizes in a tag; "?" is none.
func dimension(tag string) (int, bool) {
	first, _, _ := strings.Cut(tag, ",")
	n, err := strconv.Atoi(first)
	return n, err == nil
}

// inner is the tag of a slice's elements: the sizes after the first.
func inner(tag reflect.StructTag) reflect.StructTag {
	_, size, _ := strings.Cut(tag.Get("ssz-size"), ",")
	_, limit, _ := strings.Cut(tag.Get("ssz-max"), ",")
	return reflect.StructTag(fmt.Sprintf(`ssz-size:%q ssz-max:%q`, size, limit))
}

func randomBitlist(random *rand.Rand, limit int) []byte {
	n := random.IntN(min(limit, 600) + 1)
	if random.IntN(8) == 0 {
		n = limit - random.IntN(9)
	}
	bits := bitfield.NewBitlist(uint64(n))
	for i := range uint64(n) {
		bits.SetBitAt(i, random.IntN(2) == 0)
	}
	return bits
}

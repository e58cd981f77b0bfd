package envelope

import (
	"fmt"
	"regexp"
)

// MaxARNSize bounds an ARN (AWS's own bound, in bytes).
const MaxARNSize = 2048

// A Resource is a kind of AWS resource that a bundle names.
type Resource int

// The kinds.
const (
	KMSKey        Resource = iota + 1 // arn:aws:kms:REGION:ACCOUNT:key/ID
	DynamoDBTable                     // arn:aws:dynamodb:REGION:ACCOUNT:table/NAME
)

// patterns hold each kind to a full ARN: of a key no alias, which whoever may move
// it could point elsewhere, and of a table no index or stream. A KMS key's id is a
// UUID, or mrk- and 32 digits (KMS developer guide, "Key identifiers"); a table's
// name has 3 to 255 characters.
var patterns = map[Resource]struct {
	arn  *regexp.Regexp
	want string
}{
	KMSKey: {
		regexp.MustCompile(`^arn:(aws[a-z-]{0,32}):kms:([a-z]{2,8}(?:-[a-z]{1,16}){1,3}-[0-9]{1,2}):([0-9]{12}):key/((?:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})|mrk-[0-9a-f]{32})$`),
		"arn:aws:kms:REGION:ACCOUNT:key/ID, and no alias",
	},
	DynamoDBTable: {
		regexp.MustCompile(`^arn:(aws[a-z-]{0,32}):dynamodb:([a-z]{2,8}(?:-[a-z]{1,16}){1,3}-[0-9]{1,2}):([0-9]{12}):table/([A-Za-z0-9_.-]{3,255})$`),
		"arn:aws:dynamodb:REGION:ACCOUNT:table/NAME",
	},
}

// An ARN names a resource in AWS.
type ARN struct {
	Partition, Region, Account string
	ID                         string // of a key its id, of a table its name
}

// ParseARN reads the full ARN of a resource of one kind.
func ParseARN(text string, kind Resource) (ARN, error) {
	pattern, known := patterns[kind]
	if !known {
		return ARN{}, fmt.Errorf("no resource of kind %d", kind)
	}
	if len(text) > MaxARNSize {
		return ARN{}, fmt.Errorf("got %d bytes, want at most %d", len(text), MaxARNSize)
	}
	parts := pattern.arn.FindStringSubmatch(text)
	if parts == nil {
		return ARN{}, fmt.Errorf("got %q, want a full ARN, %s", text, pattern.want)
	}
	return ARN{Partition: parts[1], Region: parts[2], Account: parts[3], ID: parts[4]}, nil
}

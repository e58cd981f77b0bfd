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

// forms hold each kind to a full ARN: of a key no alias, which whoever may move
// it could point elsewhere, and of a table no index or stream. A KMS key's id is a
// UUID, or mrk- and 32 digits (KMS developer guide, "Key identifiers"); a table's
// name has 3 to 255 characters. A region becomes one label of a host's name.
var forms = map[Resource]struct {
	arn     *regexp.Regexp
	want    string
	service string // as in the names of its endpoints
}{
	KMSKey: {
		regexp.MustCompile(`^arn:(aws[a-z-]{0,32}):kms:([a-z0-9-]{1,32}):([0-9]{12}):key/((?:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})|mrk-[0-9a-f]{32})$`),
		"arn:aws:kms:REGION:ACCOUNT:key/ID, and no alias",
		"kms",
	},
	DynamoDBTable: {
		regexp.MustCompile(`^arn:(aws[a-z-]{0,32}):dynamodb:([a-z0-9-]{1,32}):([0-9]{12}):table/([A-Za-z0-9_.-]{3,255})$`),
		"arn:aws:dynamodb:REGION:ACCOUNT:table/NAME",
		"dynamodb",
	},
}

// domains are those of AWS's public endpoints, by partition. Other partitions have
// certificate authorities of their own as well.
var domains = map[string]string{
	"aws":        "amazonaws.com",
	"aws-us-gov": "amazonaws.com",
	"aws-cn":     "amazonaws.com.cn",
}

// An ARN names a resource in AWS.
type ARN struct {
	Partition, Region, Account string
	ID                         string // of a key its id, of a table its name
}

// ParseARN reads the full ARN of a resource of one kind.
func ParseARN(text string, kind Resource) (ARN, error) {
	form, known := forms[kind]
	if !known {
		return ARN{}, fmt.Errorf("no resource of kind %d", kind)
	}
	if len(text) > MaxARNSize {
		return ARN{}, fmt.Errorf("got %d bytes, want at most %d", len(text), MaxARNSize)
	}
	parts := form.arn.FindStringSubmatch(text)
	if parts == nil {
		return ARN{}, fmt.Errorf("got %q, want a full ARN, %s", text, form.want)
	}
	return ARN{Partition: parts[1], Region: parts[2], Account: parts[3], ID: parts[4]}, nil
}

// Host returns the name of the public endpoint that serves a resource of one kind,
// such as kms.eu-central-1.amazonaws.com (AWS General Reference, "Service endpoints").
// That of a partition whose domain is not known must be named by who configures it.
func Host(text string, kind Resource) (string, error) {
	arn, err := ParseARN(text, kind)
	if err != nil {
		return "", err
	}
	domain, known := domains[arn.Partition]
	if !known {
		return "", fmt.Errorf("%q: partition %q has no known endpoint: the configuration must name it", text, arn.Partition)
	}
	return forms[kind].service + "." + arn.Region + "." + domain, nil
}

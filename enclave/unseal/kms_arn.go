package unseal

import (
	"fmt"
	"regexp"
)

// partitions have the domains of KMS's public endpoints. Other partitions have
// roots of their own as well, so their endpoint comes from the configuration.
var partitions = map[string]string{
	"aws":        "amazonaws.com",
	"aws-us-gov": "amazonaws.com",
	"aws-cn":     "amazonaws.com.cn",
}

// keyARN is the form of a key's full ARN; "mrk-" begins that of a multi-Region key.
var keyARN = regexp.MustCompile(`^arn:(aws[a-z-]{0,16}):kms:([a-z0-9-]{1,32}):[0-9]{12}:key/(mrk-[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$`)

type arn struct{ partition, region string }

func parseKeyARN(s string) (arn, error) {
	parts := keyARN.FindStringSubmatch(s)
	if parts == nil {
		return arn{}, fmt.Errorf("kms: got key %q, want its full ARN, arn:aws:kms:<region>:<account>:key/<id>; an alias names no key for good", clip(s))
	}
	return arn{partition: parts[1], region: parts[2]}, nil
}

// clip shortens what an error quotes.
func clip(s string) string {
	const limit = 256
	if len(s) > limit {
		return s[:limit] + "…"
	}
	return s
}

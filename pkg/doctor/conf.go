package doctor

import (
	"regexp"
	"strings"
)

// conf is a line of multipath.conf: a keyword with its value, or a section with what is in it.
type conf struct {
	key, value string
	inner      []conf
}

// parseConf reads what multipathd prints and what administrators write (multipath.conf(5)): a keyword a line, # and !
// begin comments, values may be in quotes. What is not understood is left out.
func parseConf(text string) []conf {
	rest := strings.Split(text, "\n")
	var all []conf
	for len(rest) > 0 {
		var some []conf
		some, rest = parseBlock(rest) // ends early at a brace too many
		all = append(all, some...)
	}
	return all
}

// parseBlock reads up to the brace that ends the block.
func parseBlock(lines []string) (block []conf, rest []string) {
	for len(lines) > 0 {
		words := confWords(lines[0])
		lines = lines[1:]
		switch {
		case len(words) == 0:
		case words[0] == "}":
			return block, lines
		case words[len(words)-1] == "{":
			section := conf{key: words[0]}
			section.inner, lines = parseBlock(lines)
			block = append(block, section)
		case len(words) > 1:
			block = append(block, conf{key: words[0], value: words[1]})
		}
	}
	return block, nil
}

// confWord is a quoted value, a brace or a bare word.
var confWord = regexp.MustCompile(`"[^"]*"?|[{}]|[^\s{}"]+`)

func confWords(line string) []string {
	var words []string
	for _, w := range confWord.FindAllString(line, -1) {
		switch w[0] {
		case '#', '!':
			return words
		case '"':
			words = append(words, strings.Trim(w, `"`))
		default:
			words = append(words, w)
		}
	}
	return words
}

// within gives what is in all sections of a name.
func within(all []conf, name string) []conf {
	var inner []conf
	for _, c := range all {
		if c.key == name {
			inner = append(inner, c.inner...)
		}
	}
	return inner
}

// value gives a keyword's value, the last of several.
func value(all []conf, key string) string {
	found := ""
	for _, c := range all {
		if c.key == key && c.inner == nil {
			found = c.value
		}
	}
	return found
}

// ownDevice finds the section of our LUNs; nil without one.
func ownDevice(all []conf, vendor string) []conf {
	var found []conf
	for _, c := range within(all, "devices") {
		if c.key == "device" && value(c.inner, "vendor") == "^"+vendor+"$" {
			found = c.inner
		}
	}
	return found
}

// lun is what blacklists are held against.
type lun struct{ disk, id, vendor, product string }

// blacklisted gives the rule that hides a LUN from multipathd; empty without one. Of each kind, an exception outweighs all
// rules (libmultipath, blacklist.c).
func blacklisted(all []conf, l lun) string {
	rules, exceptions := within(all, "blacklist"), within(all, "blacklist_exceptions")
	for _, kind := range []struct{ key, text string }{
		{"devnode", l.disk}, {"protocol", "scsi:iscsi"}, {"wwid", l.id},
	} {
		if rule := matchRule(rules, kind.key, kind.text); rule != "" && matchRule(exceptions, kind.key, kind.text) == "" {
			return rule
		}
	}
	if rule := matchDevice(rules, l); rule != "" && matchDevice(exceptions, l) == "" {
		return rule
	}
	return ""
}

func matchRule(rules []conf, key, text string) string {
	for _, c := range rules {
		if c.key == key && matches(c.value, text) {
			return key + ` "` + c.value + `"`
		}
	}
	return ""
}

func matchDevice(rules []conf, l lun) string {
	for _, c := range rules {
		vendor, product := value(c.inner, "vendor"), value(c.inner, "product")
		if c.key != "device" || vendor+product == "" {
			continue
		}
		if (vendor == "" || matches(vendor, l.vendor)) && (product == "" || matches(product, l.product)) {
			return `device { vendor "` + vendor + `" product "` + product + `" }`
		}
	}
	return ""
}

// matches applies a rule's regular expression; a ! before it inverts.
func matches(rule, text string) bool {
	pattern, inverted := strings.CutPrefix(rule, "!")
	if pattern == "*" {
		pattern = ".*" // a mistake that libmultipath takes for this
	}
	re, err := regexp.Compile(pattern)
	return err == nil && re.MatchString(text) != inverted
}

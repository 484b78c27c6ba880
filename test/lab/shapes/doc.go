// Package shapes holds volumes over other networks than two NICs by two portals with IPv4: one path, sixteen, IPv6.
package shapes

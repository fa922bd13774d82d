"""Files and answers over the network: several addresses, patience, mirrors and proxies."""

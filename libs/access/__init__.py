"""Who is calling and what they may do: API keys, principals, and the directory that every edge keeps in memory."""

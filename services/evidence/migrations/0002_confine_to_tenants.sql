-- Routes read; only the worker signs, and nobody changes or removes what was signed.
CALL confine_to_tenant('artifact');
GRANT SELECT ON artifact, signing_key TO :"api";
GRANT SELECT, INSERT ON artifact, signing_key TO :"worker";

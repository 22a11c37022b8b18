--
-- PostgreSQL database dump
--

\restrict xpoJAMq67KgqfNdMFFmQlAshzaIjzK5f0TUoaGwNa9pn8TpcHr3DcPPTwDDTrZ5

-- Dumped from database version 15.18 (Debian 15.18-0+deb12u1)
-- Dumped by pg_dump version 15.18 (Debian 15.18-0+deb12u1)

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: devices; Type: TABLE; Schema: public; Owner: nobody
--

CREATE TABLE public.devices (
    id character varying(255) NOT NULL,
    serial_number character varying(127),
    unlock_token text,
    token_update text
);


ALTER TABLE public.devices OWNER TO nobody;

--
-- Name: enrollments; Type: TABLE; Schema: public; Owner: nobody
--

CREATE TABLE public.enrollments (
    id character varying(255) NOT NULL,
    device_id character varying(255) NOT NULL,
    user_id character varying(255),
    type character varying(31) NOT NULL,
    topic character varying(255) NOT NULL,
    push_magic character varying(127) NOT NULL,
    token_hex character varying(255) NOT NULL,
    enabled boolean DEFAULT true NOT NULL,
    token_update_tally integer DEFAULT 1 NOT NULL,
    last_seen_at timestamp without time zone,
    created_at timestamp without time zone DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT enrollments_id_check CHECK (((id)::text <> ''::text)),
    CONSTRAINT enrollments_topic_check CHECK (((topic)::text <> ''::text))
);


ALTER TABLE public.enrollments OWNER TO nobody;

--
-- Name: push_certs; Type: TABLE; Schema: public; Owner: nobody
--

CREATE TABLE public.push_certs (
    topic character varying(255) NOT NULL,
    cert_pem text NOT NULL,
    key_pem text NOT NULL,
    stale_token integer NOT NULL,
    created_at timestamp without time zone DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT push_certs_cert_pem_check CHECK ((SUBSTRING(cert_pem FROM 1 FOR 27) = '-----BEGIN CERTIFICATE-----'::text))
);


ALTER TABLE public.push_certs OWNER TO nobody;

--
-- Data for Name: devices; Type: TABLE DATA; Schema: public; Owner: nobody
--

INSERT INTO public.devices VALUES ('470E005B-17C1-4537-BBB3-0EBC340D432A', 'C02MT66KFLHH', 'xx', '<?xml?>');
INSERT INTO public.devices VALUES ('8b3b8ba3783e9ade1dae4fbb944ab3afc0ce5b69', 'C02MT66KFLHH', 'xx', '<?xml?>');
INSERT INTO public.devices VALUES ('b318edb72b556059a013368e3150050c5f74a2c6', 'C02MT66KFLHH', 'xx', '<?xml?>');


--
-- Data for Name: enrollments; Type: TABLE DATA; Schema: public; Owner: nobody
--

INSERT INTO public.enrollments VALUES ('470E005B-17C1-4537-BBB3-0EBC340D432A', '470E005B-17C1-4537-BBB3-0EBC340D432A', NULL, 'Device', 'com.apple.mgmt.External.0f3a7f7e-6f5e-4d8a-9b1f-2c6a3e5d7b90', '9F3B1C2D-7A54-4E1B-8C11-2B0A5D6E7F80', '1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a', true, 3, '2026-11-24 10:00:00', '2026-11-24 10:00:00');
INSERT INTO public.enrollments VALUES ('470E005B-17C1-4537-BBB3-0EBC340D432A:F151140B-3988-45A9-9471-E96B49F27D93', '470E005B-17C1-4537-BBB3-0EBC340D432A', '470E005B-17C1-4537-BBB3-0EBC340D432A:F151140B-3988-45A9-9471-E96B49F27D93', 'User', 'com.apple.mgmt.External.0f3a7f7e-6f5e-4d8a-9b1f-2c6a3e5d7b90', 'It''s (a), "magic" \ word; VALUES (''x'')', '1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b', true, 1, '2026-11-24 10:00:00', '2026-11-24 10:00:00');
INSERT INTO public.enrollments VALUES ('8b3b8ba3783e9ade1dae4fbb944ab3afc0ce5b69', '8b3b8ba3783e9ade1dae4fbb944ab3afc0ce5b69', NULL, 'Device', 'com.apple.mgmt.External.0f3a7f7e-6f5e-4d8a-9b1f-2c6a3e5d7b90', '73D2F9A4-0000-4000-8000-000000000001', '1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c', false, 9, '2026-11-24 10:00:00', '2026-11-24 10:00:00');
INSERT INTO public.enrollments VALUES ('b318edb72b556059a013368e3150050c5f74a2c6', 'b318edb72b556059a013368e3150050c5f74a2c6', NULL, 'Device', 'com.apple.mgmt.External.77c0ffee-2222-4c22-9a33-5d6e7f809102', '73D2F9A4-0000-4000-8000-000000000002', '2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a', true, 1, '2026-11-24 10:00:00', '2026-11-24 10:00:00');


--
-- Data for Name: push_certs; Type: TABLE DATA; Schema: public; Owner: nobody
--

INSERT INTO public.push_certs VALUES ('com.apple.mgmt.External.0f3a7f7e-6f5e-4d8a-9b1f-2c6a3e5d7b90', '-----BEGIN CERTIFICATE-----
MIIEJjCCAw6gAwIBAgIUHjb6i2xNT2qJQ2Vy0lzqQpmf2XQwDQYJKoZIhvcNAQEL
BQAwgZIxCzAJBgNVBAYTAlVTMRUwEwYDVQQKDAxFeGFtcGxlIEluYy4xKDAmBgNV
BAsMH0V4YW1wbGUgQ2VydGlmaWNhdGlvbiBBdXRob3JpdHkxQjBABgNVBAMMOUV4
YW1wbGUgQXBwbGljYXRpb24gSW50ZWdyYXRpb24gMiBDZXJ0aWZpY2F0aW9uIEF1
dGhvcml0eTAeFw0yNjExMjQwMDQ1MDBaFw0zNjExMjEwMDQ1MDBaMIGPMUwwSgYK
CZImiZPyLGQBAQw8Y29tLmFwcGxlLm1nbXQuRXh0ZXJuYWwuMGYzYTdmN2UtNmY1
ZS00ZDhhLTliMWYtMmM2YTNlNWQ3YjkwMTIwMAYDVQQDDClBUFNQOjBmM2E3Zjdl
LTZmNWUtNGQ4YS05YjFmLTJjNmEzZTVkN2I5MDELMAkGA1UEBhMCVVMwggEiMA0G
CSqGSIb3DQEBAQUAA4IBDwAwggEKAoIBAQCw5sNSDg58lxvVr016EUZaTM0qbX/S
LDxKnJhvcBouxpSE7yXQqj9gNlOaA8WOisqROOjRbvNmEQdTD8sZMSxLxb+tTzOl
Yz1ixGRZ+paNJ5idewlKO0S4+WPvXKkhDYD3scvMn7jfOlYWN5LEeezw9zcVuA/C
ITa9IxDH3kk6ZRAP6xJ6n5cRfJAYjnYYqQ9fQ08JLnfsOz4VI1ar+02l4sqSWitj
q2/WvwdQRjyZmEVkxl1/PeBZWieL3K0BGnLJcI/bk2BGRZb1LN9Ff47DKA44eCzi
B4MaXvOES+tG9ABwXgel4JTdCNouWo3xp/XsZXBkhSiuUgqeAuZfX/PhAgMBAAGj
dTBzMAwGA1UdEwEB/wQCMAAwDgYDVR0PAQH/BAQDAgeAMBMGA1UdJQQMMAoGCCsG
AQUFBwMCMB0GA1UdDgQWBBQewveaDs6l2HAnSCcEWlR+dk4EQDAfBgNVHSMEGDAW
gBQTriEZYLIr+SYvm5HjPi040bhdGzANBgkqhkiG9w0BAQsFAAOCAQEAvA8zR7bw
qEcjbmjOnkjloc2bK67qPZkH7pW2M7GDyEx9ePxz9V6kbkwjyD6eoomjR9mcSYJJ
x09y1aOKqw5OseTBQLLwi0V/f+/6qyt9k99MhGoIsDmfL4Pc++WtuCKg0YDRemiA
viXzD0C58apo95q6+VVg8Ht7TE1YXU/KKuCBqvti1w35HO0gD794wc4TLhMh1l9j
/0a0kBd5C44kqREomLK6QTMpoV66j+38h+qqt5AOylWnZd5Aq6CbQpNdHif1ZBx3
FHVBj+lx//N5erwN4CCHGWZ9wVTJ/AHoRGRHRyz/aY2Aylc9AtaxCo+tcCzz0SZD
QYaDqNf5XopQpA==
-----END CERTIFICATE-----
', '-----BEGIN PRIVATE KEY-----
MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQCw5sNSDg58lxvV
r016EUZaTM0qbX/SLDxKnJhvcBouxpSE7yXQqj9gNlOaA8WOisqROOjRbvNmEQdT
D8sZMSxLxb+tTzOlYz1ixGRZ+paNJ5idewlKO0S4+WPvXKkhDYD3scvMn7jfOlYW
N5LEeezw9zcVuA/CITa9IxDH3kk6ZRAP6xJ6n5cRfJAYjnYYqQ9fQ08JLnfsOz4V
I1ar+02l4sqSWitjq2/WvwdQRjyZmEVkxl1/PeBZWieL3K0BGnLJcI/bk2BGRZb1
LN9Ff47DKA44eCziB4MaXvOES+tG9ABwXgel4JTdCNouWo3xp/XsZXBkhSiuUgqe
AuZfX/PhAgMBAAECggEAE6CvCEIuAk3j1Tw7nPEgvLErzGrU1VV6JQ8l7KtkBE+d
N/iu2e2h1YOBmCOV/mBQ5HcLgf1M/USjauhkMPnfP9MDlu+kO9P8giJnPgKLRMMh
cEuv9rAHynxFRdAipduxNQphoeUQ5pe66IEnBCzBCOVtE7hV60SzJZ4n5P05Y8SW
emL4cfSR1R+gW8o8wWfndDFJ5emv82r+EVF7rJxAs5HfHMYQKSY3bQETcJ4pa0G/
WKAXTs/r+QzMDdiEQnzH9Sb55SH7O2IJ9HE0OnboIQP+ogYTTWKZXxksMQt02NEZ
RNNYwYWUKi+Ij1gytFw09hDqWEZZcgck7PeqbctdaQKBgQDmPfQbsrSDvXgHd7r1
wKquoa0hiAsS82AtScfaexoeXo0cmusjBBNVPNfxkGFzWz//+dCIGbBehjiMl3kg
wpO6yONC2P2rWehOwy3/9+zq/10aTJRNlFb1zywU0A4kk7GUNJXmlDqR6fyN/qnM
Jfih4eRlf9QFo7P1tqd7TOTVHQKBgQDEsSeSW8zgU1mpjHlI1iYGVAxcZEQxjNQK
4u0LWkRLyLtHCW91Hfl/neqE/lhvszkBMXQeoOJg7P+Fs+yeUoWTlX42ogTtU/dH
TFd2RxuWaCo7gxehkj01TqE2dv7QbNB1SLvE3oSGK5Tw2Uk28P0awFjbrOs8jXCL
XigFbx1ylQKBgQCoTvm3lbdn5oVr0BaXt7QN3JpXPL/7pnXUJW83Q24gbTXyhz0E
Z+JKGSQyrjzOuxHZ6aCLHVxUfQGxpLkjPZoInPmk0EL/k8XCbeOejnpefzZsFzcC
T0IShtPOkxkDnAPgN2CtIgZ+y/GXS2aMmeVbUWpI2F0Bkl3nbRKZi+hr8QKBgDT+
KdQz6YHy0vBsSW0HTV1dHaty1DCpaaO5OfZaDpaAcXyVHTNnrQXmDP5h7H/DwLMC
mO97lyJYGAv0yuZpA1Yc69FaW4t5mODbv6C9TcB7Ng2spxw/4z/OfH7JFqQe/Rbs
TrKe5QOlEE7HrAMicH7ZndcpwoMg9FaIOq4kHsH1AoGAVLv7xfIPfAE+438YsRG+
LvmHNJ/DMUrTq9V+yFj+aUCGbdMJpPPGgqstHIZuodu02RB01rYphQcSaRHY52uH
z6L9rjYsvzz8uhKtN2SgHGwk0qsGOgoJMCSdpPKOzvgdQ05UVuLQa4uEUPAtQzI7
IExEa+SJh9+frUW4Viojnk8=
-----END PRIVATE KEY-----
', 1, '2026-11-24 10:00:00');


--
-- Name: devices devices_pkey; Type: CONSTRAINT; Schema: public; Owner: nobody
--

ALTER TABLE ONLY public.devices
    ADD CONSTRAINT devices_pkey PRIMARY KEY (id);


--
-- Name: enrollments enrollments_pkey; Type: CONSTRAINT; Schema: public; Owner: nobody
--

ALTER TABLE ONLY public.enrollments
    ADD CONSTRAINT enrollments_pkey PRIMARY KEY (id);


--
-- Name: enrollments enrollments_user_id_key; Type: CONSTRAINT; Schema: public; Owner: nobody
--

ALTER TABLE ONLY public.enrollments
    ADD CONSTRAINT enrollments_user_id_key UNIQUE (user_id);


--
-- Name: push_certs push_certs_pkey; Type: CONSTRAINT; Schema: public; Owner: nobody
--

ALTER TABLE ONLY public.push_certs
    ADD CONSTRAINT push_certs_pkey PRIMARY KEY (topic);


--
-- Name: idx_type; Type: INDEX; Schema: public; Owner: nobody
--

CREATE INDEX idx_type ON public.enrollments USING btree (type);


--
-- Name: enrollments enrollments_device_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: nobody
--

ALTER TABLE ONLY public.enrollments
    ADD CONSTRAINT enrollments_device_id_fkey FOREIGN KEY (device_id) REFERENCES public.devices(id);


--
-- PostgreSQL database dump complete
--

\unrestrict xpoJAMq67KgqfNdMFFmQlAshzaIjzK5f0TUoaGwNa9pn8TpcHr3DcPPTwDDTrZ5


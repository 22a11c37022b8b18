/*M!999999\- enable the sandbox mode */ 
-- MariaDB dump 10.19  Distrib 10.11.19-MariaDB, for debian-linux-gnu (x86_64)
--
-- Host: localhost    Database: nanomdm
-- ------------------------------------------------------
-- Server version	10.11.19-MariaDB-0+deb12u1

/*!40101 SET @OLD_CHARACTER_SET_CLIENT=@@CHARACTER_SET_CLIENT */;
/*!40101 SET @OLD_CHARACTER_SET_RESULTS=@@CHARACTER_SET_RESULTS */;
/*!40101 SET @OLD_COLLATION_CONNECTION=@@COLLATION_CONNECTION */;
/*!40101 SET NAMES utf8mb4 */;
/*!40103 SET @OLD_TIME_ZONE=@@TIME_ZONE */;
/*!40103 SET TIME_ZONE='+00:00' */;
/*!40014 SET @OLD_UNIQUE_CHECKS=@@UNIQUE_CHECKS, UNIQUE_CHECKS=0 */;
/*!40014 SET @OLD_FOREIGN_KEY_CHECKS=@@FOREIGN_KEY_CHECKS, FOREIGN_KEY_CHECKS=0 */;
/*!40101 SET @OLD_SQL_MODE=@@SQL_MODE, SQL_MODE='NO_AUTO_VALUE_ON_ZERO' */;
/*!40111 SET @OLD_SQL_NOTES=@@SQL_NOTES, SQL_NOTES=0 */;

--
-- Table structure for table `nano_devices`
--

DROP TABLE IF EXISTS `nano_devices`;
/*!40101 SET @saved_cs_client     = @@character_set_client */;
/*!40101 SET character_set_client = utf8mb4 */;
CREATE TABLE `nano_devices` (
  `id` varchar(255) NOT NULL,
  `serial_number` varchar(127) DEFAULT NULL,
  `unlock_token` mediumblob DEFAULT NULL,
  `token_update` text DEFAULT NULL,
  PRIMARY KEY (`id`)
) ENGINE=InnoDB DEFAULT CHARSET=latin1 COLLATE=latin1_swedish_ci;
/*!40101 SET character_set_client = @saved_cs_client */;

--
-- Dumping data for table `nano_devices`
--

LOCK TABLES `nano_devices` WRITE;
/*!40000 ALTER TABLE `nano_devices` DISABLE KEYS */;
INSERT INTO `nano_devices` VALUES
('470E005B-17C1-4537-BBB3-0EBC340D432A','C02MT66KFLHH','\0ÿ\'\'\\\n','<?xml?>'),
('8b3b8ba3783e9ade1dae4fbb944ab3afc0ce5b69','C02MT66KFLHH','\0ÿ\'\'\\\n','<?xml?>'),
('b318edb72b556059a013368e3150050c5f74a2c6','C02MT66KFLHH','\0ÿ\'\'\\\n','<?xml?>');
/*!40000 ALTER TABLE `nano_devices` ENABLE KEYS */;
UNLOCK TABLES;

--
-- Table structure for table `nano_enrollments`
--

DROP TABLE IF EXISTS `nano_enrollments`;
/*!40101 SET @saved_cs_client     = @@character_set_client */;
/*!40101 SET character_set_client = utf8mb4 */;
CREATE TABLE `nano_enrollments` (
  `id` varchar(255) NOT NULL,
  `device_id` varchar(255) NOT NULL,
  `user_id` varchar(255) DEFAULT NULL,
  `type` varchar(31) NOT NULL,
  `topic` varchar(255) NOT NULL,
  `push_magic` varchar(127) NOT NULL,
  `token_hex` varchar(255) NOT NULL,
  `enabled` tinyint(1) NOT NULL DEFAULT 1,
  `token_update_tally` int(11) NOT NULL DEFAULT 1,
  `last_seen_at` timestamp NULL DEFAULT NULL,
  `created_at` timestamp NULL DEFAULT current_timestamp(),
  PRIMARY KEY (`id`),
  UNIQUE KEY `user_id` (`user_id`),
  KEY `device_id` (`device_id`),
  KEY `idx_type` (`type`),
  CONSTRAINT `nano_enrollments_ibfk_1` FOREIGN KEY (`device_id`) REFERENCES `nano_devices` (`id`),
  CONSTRAINT `CONSTRAINT_1` CHECK (`id` <> ''),
  CONSTRAINT `CONSTRAINT_2` CHECK (`topic` <> '')
) ENGINE=InnoDB DEFAULT CHARSET=latin1 COLLATE=latin1_swedish_ci;
/*!40101 SET character_set_client = @saved_cs_client */;

--
-- Dumping data for table `nano_enrollments`
--

LOCK TABLES `nano_enrollments` WRITE;
/*!40000 ALTER TABLE `nano_enrollments` DISABLE KEYS */;
INSERT INTO `nano_enrollments` VALUES
('470E005B-17C1-4537-BBB3-0EBC340D432A','470E005B-17C1-4537-BBB3-0EBC340D432A',NULL,'Device','com.apple.mgmt.External.0f3a7f7e-6f5e-4d8a-9b1f-2c6a3e5d7b90','9F3B1C2D-7A54-4E1B-8C11-2B0A5D6E7F80','1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a',1,3,'2026-11-24 10:00:00','2026-11-24 10:00:00'),
('470E005B-17C1-4537-BBB3-0EBC340D432A:F151140B-3988-45A9-9471-E96B49F27D93','470E005B-17C1-4537-BBB3-0EBC340D432A','470E005B-17C1-4537-BBB3-0EBC340D432A:F151140B-3988-45A9-9471-E96B49F27D93','User','com.apple.mgmt.External.0f3a7f7e-6f5e-4d8a-9b1f-2c6a3e5d7b90','It\'s (a), \"magic\" \\ word; VALUES (\'x\')','1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b',1,1,'2026-11-24 10:00:00','2026-11-24 10:00:00'),
('8b3b8ba3783e9ade1dae4fbb944ab3afc0ce5b69','8b3b8ba3783e9ade1dae4fbb944ab3afc0ce5b69',NULL,'Device','com.apple.mgmt.External.0f3a7f7e-6f5e-4d8a-9b1f-2c6a3e5d7b90','73D2F9A4-0000-4000-8000-000000000001','1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c',0,9,'2026-11-24 10:00:00','2026-11-24 10:00:00'),
('b318edb72b556059a013368e3150050c5f74a2c6','b318edb72b556059a013368e3150050c5f74a2c6',NULL,'Device','com.apple.mgmt.External.77c0ffee-2222-4c22-9a33-5d6e7f809102','73D2F9A4-0000-4000-8000-000000000002','2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a',1,1,'2026-11-24 10:00:00','2026-11-24 10:00:00');
/*!40000 ALTER TABLE `nano_enrollments` ENABLE KEYS */;
UNLOCK TABLES;

--
-- Table structure for table `nano_push_certs`
--

DROP TABLE IF EXISTS `nano_push_certs`;
/*!40101 SET @saved_cs_client     = @@character_set_client */;
/*!40101 SET character_set_client = utf8mb4 */;
CREATE TABLE `nano_push_certs` (
  `topic` varchar(255) NOT NULL,
  `cert_pem` text NOT NULL,
  `key_pem` text NOT NULL,
  `stale_token` int(11) NOT NULL,
  `created_at` timestamp NULL DEFAULT current_timestamp(),
  PRIMARY KEY (`topic`),
  CONSTRAINT `CONSTRAINT_1` CHECK (substr(`cert_pem`,1,27) = '-----BEGIN CERTIFICATE-----')
) ENGINE=InnoDB DEFAULT CHARSET=latin1 COLLATE=latin1_swedish_ci;
/*!40101 SET character_set_client = @saved_cs_client */;

--
-- Dumping data for table `nano_push_certs`
--

LOCK TABLES `nano_push_certs` WRITE;
/*!40000 ALTER TABLE `nano_push_certs` DISABLE KEYS */;
INSERT INTO `nano_push_certs` VALUES
('com.apple.mgmt.External.0f3a7f7e-6f5e-4d8a-9b1f-2c6a3e5d7b90','-----BEGIN CERTIFICATE-----\nMIIEJjCCAw6gAwIBAgIUHjb6i2xNT2qJQ2Vy0lzqQpmf2XQwDQYJKoZIhvcNAQEL\nBQAwgZIxCzAJBgNVBAYTAlVTMRUwEwYDVQQKDAxFeGFtcGxlIEluYy4xKDAmBgNV\nBAsMH0V4YW1wbGUgQ2VydGlmaWNhdGlvbiBBdXRob3JpdHkxQjBABgNVBAMMOUV4\nYW1wbGUgQXBwbGljYXRpb24gSW50ZWdyYXRpb24gMiBDZXJ0aWZpY2F0aW9uIEF1\ndGhvcml0eTAeFw0yNjExMjQwMDQ1MDBaFw0zNjExMjEwMDQ1MDBaMIGPMUwwSgYK\nCZImiZPyLGQBAQw8Y29tLmFwcGxlLm1nbXQuRXh0ZXJuYWwuMGYzYTdmN2UtNmY1\nZS00ZDhhLTliMWYtMmM2YTNlNWQ3YjkwMTIwMAYDVQQDDClBUFNQOjBmM2E3Zjdl\nLTZmNWUtNGQ4YS05YjFmLTJjNmEzZTVkN2I5MDELMAkGA1UEBhMCVVMwggEiMA0G\nCSqGSIb3DQEBAQUAA4IBDwAwggEKAoIBAQCw5sNSDg58lxvVr016EUZaTM0qbX/S\nLDxKnJhvcBouxpSE7yXQqj9gNlOaA8WOisqROOjRbvNmEQdTD8sZMSxLxb+tTzOl\nYz1ixGRZ+paNJ5idewlKO0S4+WPvXKkhDYD3scvMn7jfOlYWN5LEeezw9zcVuA/C\nITa9IxDH3kk6ZRAP6xJ6n5cRfJAYjnYYqQ9fQ08JLnfsOz4VI1ar+02l4sqSWitj\nq2/WvwdQRjyZmEVkxl1/PeBZWieL3K0BGnLJcI/bk2BGRZb1LN9Ff47DKA44eCzi\nB4MaXvOES+tG9ABwXgel4JTdCNouWo3xp/XsZXBkhSiuUgqeAuZfX/PhAgMBAAGj\ndTBzMAwGA1UdEwEB/wQCMAAwDgYDVR0PAQH/BAQDAgeAMBMGA1UdJQQMMAoGCCsG\nAQUFBwMCMB0GA1UdDgQWBBQewveaDs6l2HAnSCcEWlR+dk4EQDAfBgNVHSMEGDAW\ngBQTriEZYLIr+SYvm5HjPi040bhdGzANBgkqhkiG9w0BAQsFAAOCAQEAvA8zR7bw\nqEcjbmjOnkjloc2bK67qPZkH7pW2M7GDyEx9ePxz9V6kbkwjyD6eoomjR9mcSYJJ\nx09y1aOKqw5OseTBQLLwi0V/f+/6qyt9k99MhGoIsDmfL4Pc++WtuCKg0YDRemiA\nviXzD0C58apo95q6+VVg8Ht7TE1YXU/KKuCBqvti1w35HO0gD794wc4TLhMh1l9j\n/0a0kBd5C44kqREomLK6QTMpoV66j+38h+qqt5AOylWnZd5Aq6CbQpNdHif1ZBx3\nFHVBj+lx//N5erwN4CCHGWZ9wVTJ/AHoRGRHRyz/aY2Aylc9AtaxCo+tcCzz0SZD\nQYaDqNf5XopQpA==\n-----END CERTIFICATE-----\n','-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQCw5sNSDg58lxvV\nr016EUZaTM0qbX/SLDxKnJhvcBouxpSE7yXQqj9gNlOaA8WOisqROOjRbvNmEQdT\nD8sZMSxLxb+tTzOlYz1ixGRZ+paNJ5idewlKO0S4+WPvXKkhDYD3scvMn7jfOlYW\nN5LEeezw9zcVuA/CITa9IxDH3kk6ZRAP6xJ6n5cRfJAYjnYYqQ9fQ08JLnfsOz4V\nI1ar+02l4sqSWitjq2/WvwdQRjyZmEVkxl1/PeBZWieL3K0BGnLJcI/bk2BGRZb1\nLN9Ff47DKA44eCziB4MaXvOES+tG9ABwXgel4JTdCNouWo3xp/XsZXBkhSiuUgqe\nAuZfX/PhAgMBAAECggEAE6CvCEIuAk3j1Tw7nPEgvLErzGrU1VV6JQ8l7KtkBE+d\nN/iu2e2h1YOBmCOV/mBQ5HcLgf1M/USjauhkMPnfP9MDlu+kO9P8giJnPgKLRMMh\ncEuv9rAHynxFRdAipduxNQphoeUQ5pe66IEnBCzBCOVtE7hV60SzJZ4n5P05Y8SW\nemL4cfSR1R+gW8o8wWfndDFJ5emv82r+EVF7rJxAs5HfHMYQKSY3bQETcJ4pa0G/\nWKAXTs/r+QzMDdiEQnzH9Sb55SH7O2IJ9HE0OnboIQP+ogYTTWKZXxksMQt02NEZ\nRNNYwYWUKi+Ij1gytFw09hDqWEZZcgck7PeqbctdaQKBgQDmPfQbsrSDvXgHd7r1\nwKquoa0hiAsS82AtScfaexoeXo0cmusjBBNVPNfxkGFzWz//+dCIGbBehjiMl3kg\nwpO6yONC2P2rWehOwy3/9+zq/10aTJRNlFb1zywU0A4kk7GUNJXmlDqR6fyN/qnM\nJfih4eRlf9QFo7P1tqd7TOTVHQKBgQDEsSeSW8zgU1mpjHlI1iYGVAxcZEQxjNQK\n4u0LWkRLyLtHCW91Hfl/neqE/lhvszkBMXQeoOJg7P+Fs+yeUoWTlX42ogTtU/dH\nTFd2RxuWaCo7gxehkj01TqE2dv7QbNB1SLvE3oSGK5Tw2Uk28P0awFjbrOs8jXCL\nXigFbx1ylQKBgQCoTvm3lbdn5oVr0BaXt7QN3JpXPL/7pnXUJW83Q24gbTXyhz0E\nZ+JKGSQyrjzOuxHZ6aCLHVxUfQGxpLkjPZoInPmk0EL/k8XCbeOejnpefzZsFzcC\nT0IShtPOkxkDnAPgN2CtIgZ+y/GXS2aMmeVbUWpI2F0Bkl3nbRKZi+hr8QKBgDT+\nKdQz6YHy0vBsSW0HTV1dHaty1DCpaaO5OfZaDpaAcXyVHTNnrQXmDP5h7H/DwLMC\nmO97lyJYGAv0yuZpA1Yc69FaW4t5mODbv6C9TcB7Ng2spxw/4z/OfH7JFqQe/Rbs\nTrKe5QOlEE7HrAMicH7ZndcpwoMg9FaIOq4kHsH1AoGAVLv7xfIPfAE+438YsRG+\nLvmHNJ/DMUrTq9V+yFj+aUCGbdMJpPPGgqstHIZuodu02RB01rYphQcSaRHY52uH\nz6L9rjYsvzz8uhKtN2SgHGwk0qsGOgoJMCSdpPKOzvgdQ05UVuLQa4uEUPAtQzI7\nIExEa+SJh9+frUW4Viojnk8=\n-----END PRIVATE KEY-----\n',1,'2026-11-24 10:00:00');
/*!40000 ALTER TABLE `nano_push_certs` ENABLE KEYS */;
UNLOCK TABLES;
/*!40103 SET TIME_ZONE=@OLD_TIME_ZONE */;

/*!40101 SET SQL_MODE=@OLD_SQL_MODE */;
/*!40014 SET FOREIGN_KEY_CHECKS=@OLD_FOREIGN_KEY_CHECKS */;
/*!40014 SET UNIQUE_CHECKS=@OLD_UNIQUE_CHECKS */;
/*!40101 SET CHARACTER_SET_CLIENT=@OLD_CHARACTER_SET_CLIENT */;
/*!40101 SET CHARACTER_SET_RESULTS=@OLD_CHARACTER_SET_RESULTS */;
/*!40101 SET COLLATION_CONNECTION=@OLD_COLLATION_CONNECTION */;
/*!40111 SET SQL_NOTES=@OLD_SQL_NOTES */;

-- Dump completed on 2026-11-25  2:10:31

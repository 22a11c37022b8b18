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
/*!40014 SET @OLD_FOREIGN_KEY_CHECKS=@@FOREIGN_KEY_CHECKS, FOREIGN_KEY_CHECKS=0 */;
/*!40101 SET @OLD_SQL_MODE=@@SQL_MODE, SQL_MODE='NO_AUTO_VALUE_ON_ZERO' */;
/*!40111 SET @OLD_SQL_NOTES=@@SQL_NOTES, SQL_NOTES=0 */;

--
-- Dumping data for table `nano_enrollments`
--

LOCK TABLES `nano_enrollments` WRITE;
/*!40000 ALTER TABLE `nano_enrollments` DISABLE KEYS */;
INSERT INTO `nano_enrollments` (`id`, `device_id`, `user_id`, `type`, `topic`, `push_magic`, `token_hex`, `enabled`, `token_update_tally`, `last_seen_at`, `created_at`) VALUES ('470E005B-17C1-4537-BBB3-0EBC340D432A','470E005B-17C1-4537-BBB3-0EBC340D432A',NULL,'Device','com.apple.mgmt.External.0f3a7f7e-6f5e-4d8a-9b1f-2c6a3e5d7b90','9F3B1C2D-7A54-4E1B-8C11-2B0A5D6E7F80','1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a',1,3,'2026-11-24 10:00:00','2026-11-24 10:00:00');
INSERT INTO `nano_enrollments` (`id`, `device_id`, `user_id`, `type`, `topic`, `push_magic`, `token_hex`, `enabled`, `token_update_tally`, `last_seen_at`, `created_at`) VALUES ('470E005B-17C1-4537-BBB3-0EBC340D432A:F151140B-3988-45A9-9471-E96B49F27D93','470E005B-17C1-4537-BBB3-0EBC340D432A','470E005B-17C1-4537-BBB3-0EBC340D432A:F151140B-3988-45A9-9471-E96B49F27D93','User','com.apple.mgmt.External.0f3a7f7e-6f5e-4d8a-9b1f-2c6a3e5d7b90','It\'s (a), \"magic\" \\ word; VALUES (\'x\')','1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b',1,1,'2026-11-24 10:00:00','2026-11-24 10:00:00');
INSERT INTO `nano_enrollments` (`id`, `device_id`, `user_id`, `type`, `topic`, `push_magic`, `token_hex`, `enabled`, `token_update_tally`, `last_seen_at`, `created_at`) VALUES ('8b3b8ba3783e9ade1dae4fbb944ab3afc0ce5b69','8b3b8ba3783e9ade1dae4fbb944ab3afc0ce5b69',NULL,'Device','com.apple.mgmt.External.0f3a7f7e-6f5e-4d8a-9b1f-2c6a3e5d7b90','73D2F9A4-0000-4000-8000-000000000001','1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c',0,9,'2026-11-24 10:00:00','2026-11-24 10:00:00');
INSERT INTO `nano_enrollments` (`id`, `device_id`, `user_id`, `type`, `topic`, `push_magic`, `token_hex`, `enabled`, `token_update_tally`, `last_seen_at`, `created_at`) VALUES ('b318edb72b556059a013368e3150050c5f74a2c6','b318edb72b556059a013368e3150050c5f74a2c6',NULL,'Device','com.apple.mgmt.External.77c0ffee-2222-4c22-9a33-5d6e7f809102','73D2F9A4-0000-4000-8000-000000000002','2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a',1,1,'2026-11-24 10:00:00','2026-11-24 10:00:00');
/*!40000 ALTER TABLE `nano_enrollments` ENABLE KEYS */;
UNLOCK TABLES;
/*!40103 SET TIME_ZONE=@OLD_TIME_ZONE */;

/*!40101 SET SQL_MODE=@OLD_SQL_MODE */;
/*!40014 SET FOREIGN_KEY_CHECKS=@OLD_FOREIGN_KEY_CHECKS */;
/*!40101 SET CHARACTER_SET_CLIENT=@OLD_CHARACTER_SET_CLIENT */;
/*!40101 SET CHARACTER_SET_RESULTS=@OLD_CHARACTER_SET_RESULTS */;
/*!40101 SET COLLATION_CONNECTION=@OLD_COLLATION_CONNECTION */;
/*!40111 SET SQL_NOTES=@OLD_SQL_NOTES */;

-- Dump completed on 2026-11-25  2:10:31

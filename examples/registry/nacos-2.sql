-- A small Nacos 2.x database: what a cluster of three years keeps, in miniature. The migration tutorial takes it over.
-- Tables and columns as Nacos 2.2 has them (before the one table of gray releases); passwords: nacos is "nacos".

CREATE TABLE config_info (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    data_id VARCHAR(255) NOT NULL,
    group_id VARCHAR(128),
    content LONGTEXT NOT NULL,
    md5 VARCHAR(32),
    gmt_create DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,
    gmt_modified DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,
    src_user TEXT,
    src_ip VARCHAR(50),
    app_name VARCHAR(128),
    tenant_id VARCHAR(128) DEFAULT '',
    c_desc VARCHAR(256),
    c_use VARCHAR(64),
    effect VARCHAR(64),
    type VARCHAR(64),
    c_schema TEXT,
    encrypted_data_key VARCHAR(1024) NOT NULL DEFAULT '',
    UNIQUE KEY uk_item (data_id, group_id, tenant_id)
) CHARACTER SET utf8mb4;

CREATE TABLE config_info_beta (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    data_id VARCHAR(255) NOT NULL,
    group_id VARCHAR(128) NOT NULL,
    app_name VARCHAR(128),
    content LONGTEXT NOT NULL,
    beta_ips VARCHAR(1024),
    md5 VARCHAR(32),
    gmt_create DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,
    gmt_modified DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,
    src_user TEXT,
    src_ip VARCHAR(50),
    tenant_id VARCHAR(128) DEFAULT '',
    encrypted_data_key VARCHAR(1024) NOT NULL DEFAULT '',
    UNIQUE KEY uk_item (data_id, group_id, tenant_id)
) CHARACTER SET utf8mb4;

CREATE TABLE config_info_tag (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    data_id VARCHAR(255) NOT NULL,
    group_id VARCHAR(128) NOT NULL,
    tenant_id VARCHAR(128) DEFAULT '',
    tag_id VARCHAR(128) NOT NULL,
    app_name VARCHAR(128),
    content LONGTEXT NOT NULL,
    md5 VARCHAR(32),
    gmt_create DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,
    gmt_modified DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,
    src_user TEXT,
    src_ip VARCHAR(50),
    UNIQUE KEY uk_item (data_id, group_id, tenant_id, tag_id)
) CHARACTER SET utf8mb4;

CREATE TABLE config_tags_relation (
    id BIGINT NOT NULL,
    tag_name VARCHAR(128) NOT NULL,
    tag_type VARCHAR(64),
    data_id VARCHAR(255) NOT NULL,
    group_id VARCHAR(128) NOT NULL,
    tenant_id VARCHAR(128) DEFAULT '',
    nid BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY
) CHARACTER SET utf8mb4;

CREATE TABLE his_config_info (
    id BIGINT NOT NULL,
    nid BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    data_id VARCHAR(255) NOT NULL,
    group_id VARCHAR(128) NOT NULL,
    app_name VARCHAR(128),
    content LONGTEXT NOT NULL,
    md5 VARCHAR(32),
    gmt_create DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,
    gmt_modified DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,
    src_user TEXT,
    src_ip VARCHAR(50),
    op_type CHAR(10),
    tenant_id VARCHAR(128) DEFAULT '',
    encrypted_data_key VARCHAR(1024) NOT NULL DEFAULT ''
) CHARACTER SET utf8mb4;

CREATE TABLE tenant_info (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    kp VARCHAR(128) NOT NULL,
    tenant_id VARCHAR(128) DEFAULT '',
    tenant_name VARCHAR(128) DEFAULT '',
    tenant_desc VARCHAR(256),
    create_source VARCHAR(32),
    gmt_create BIGINT NOT NULL,
    gmt_modified BIGINT NOT NULL
) CHARACTER SET utf8mb4;

CREATE TABLE group_capacity (
    id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    group_id VARCHAR(128) NOT NULL DEFAULT '',
    quota INT UNSIGNED NOT NULL DEFAULT 0,
    `usage` INT UNSIGNED NOT NULL DEFAULT 0,
    max_size INT UNSIGNED NOT NULL DEFAULT 0,
    max_aggr_count INT UNSIGNED NOT NULL DEFAULT 0,
    max_aggr_size INT UNSIGNED NOT NULL DEFAULT 0,
    max_history_count INT UNSIGNED NOT NULL DEFAULT 0,
    gmt_create DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,
    gmt_modified DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP
) CHARACTER SET utf8mb4;

CREATE TABLE tenant_capacity (
    id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    tenant_id VARCHAR(128) NOT NULL DEFAULT '',
    quota INT UNSIGNED NOT NULL DEFAULT 0,
    `usage` INT UNSIGNED NOT NULL DEFAULT 0,
    max_size INT UNSIGNED NOT NULL DEFAULT 0,
    max_aggr_count INT UNSIGNED NOT NULL DEFAULT 0,
    max_aggr_size INT UNSIGNED NOT NULL DEFAULT 0,
    max_history_count INT UNSIGNED NOT NULL DEFAULT 0,
    gmt_create DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,
    gmt_modified DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP
) CHARACTER SET utf8mb4;

CREATE TABLE users (
    username VARCHAR(50) NOT NULL PRIMARY KEY,
    password VARCHAR(500) NOT NULL,
    enabled BOOLEAN NOT NULL
) CHARACTER SET utf8mb4;

CREATE TABLE roles (
    username VARCHAR(50) NOT NULL,
    role VARCHAR(50) NOT NULL,
    UNIQUE KEY uk_given (username, role)
) CHARACTER SET utf8mb4;

CREATE TABLE permissions (
    role VARCHAR(50) NOT NULL,
    resource VARCHAR(255) NOT NULL,
    action VARCHAR(8) NOT NULL,
    UNIQUE KEY uk_right (role, resource, action)
) CHARACTER SET utf8mb4;

INSERT INTO tenant_info (kp, tenant_id, tenant_name, tenant_desc, create_source, gmt_create, gmt_modified) VALUES
    ('1', 'dev', 'Development', 'everybody may break it', 'nacos', 1650000000000, 1650000000000);

INSERT INTO config_info
    (id, data_id, group_id, content, md5, gmt_create, gmt_modified, src_user, src_ip, app_name, tenant_id, c_desc, type)
VALUES
    (1, 'shop.yaml', 'DEFAULT_GROUP', 'currency: EUR\nlimit: 100\n', MD5('currency: EUR\nlimit: 100\n'),
     '2022-04-15 08:00:00', '2024-11-02 16:30:00', 'nacos', '10.1.0.4', 'shop', '', 'what the shop sells for', 'yaml'),
    (2, 'routes.json', 'GATEWAY', '{"routes": ["shop", "payments"]}', MD5('{"routes": ["shop", "payments"]}'),
     '2022-04-15 08:00:00', '2023-01-20 09:10:00', 'ann', '10.1.0.4', 'gateway', '', NULL, 'json'),
    (3, 'shop.yaml', 'DEFAULT_GROUP', 'currency: EUR\nlimit: 1\n', MD5('currency: EUR\nlimit: 1\n'),
     '2022-05-01 12:00:00', '2022-05-01 12:00:00', 'ann', '10.1.0.9', 'shop', 'dev', NULL, 'yaml'),
    (4, 'cipher-aes-keys', 'DEFAULT_GROUP', 'kX9vQ2mZc0', MD5('kX9vQ2mZc0'),
     '2023-07-07 07:07:07', '2023-07-07 07:07:07', 'nacos', '10.1.0.4', NULL, '', NULL, 'text');

UPDATE config_info SET encrypted_data_key = 'qL7b' WHERE id = 4;

INSERT INTO config_info_beta (data_id, group_id, app_name, content, beta_ips, md5, tenant_id) VALUES
    ('shop.yaml', 'DEFAULT_GROUP', 'shop', 'currency: EUR\nlimit: 250\n', '10.1.0.77',
     MD5('currency: EUR\nlimit: 250\n'), '');

INSERT INTO config_info_tag (data_id, group_id, tenant_id, tag_id, content, md5) VALUES
    ('routes.json', 'GATEWAY', '', 'canary', '{"routes": ["shop"]}', MD5('{"routes": ["shop"]}'));

INSERT INTO config_tags_relation (id, tag_name, tag_type, data_id, group_id, tenant_id) VALUES
    (1, 'money', '', 'shop.yaml', 'DEFAULT_GROUP', '');

INSERT INTO his_config_info
    (id, data_id, group_id, app_name, content, md5, gmt_create, gmt_modified, src_user, src_ip, op_type, tenant_id)
VALUES
    (1, 'shop.yaml', 'DEFAULT_GROUP', 'shop', 'currency: EUR\nlimit: 50\n', MD5('currency: EUR\nlimit: 50\n'),
     '2022-04-15 08:00:00', '2024-11-02 16:30:00', 'nacos', '10.1.0.4', 'U', '');

INSERT INTO users (username, password, enabled) VALUES
    ('nacos', '$2a$10$H4MMFw.XzQ4E1xD5zDBujOIqN5GaEag94wzTWmH45Z5Apgaf9zALC', TRUE),
    ('ann', '$2a$10$H4MMFw.XzQ4E1xD5zDBujOIqN5GaEag94wzTWmH45Z5Apgaf9zALC', TRUE);

INSERT INTO roles (username, role) VALUES ('nacos', 'ROLE_ADMIN'), ('ann', 'developers');

INSERT INTO permissions (role, resource, action) VALUES ('developers', 'dev:*:*', 'rw');

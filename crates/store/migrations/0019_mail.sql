-- Whether a member is told by e-mail of what asks for attention: 'off', or '' for yes. Under the row's MAC where it is not empty.
ALTER TABLE members ADD COLUMN mail_warnings TEXT NOT NULL DEFAULT '';

-- Whom a message goes to by e-mail; '' where it goes to a webhook. The address is read from the member's row when it is sent.
ALTER TABLE webhook_deliveries ADD COLUMN member_id TEXT NOT NULL DEFAULT '';

-- The member who made an invitation, or '' for a command: it ends with their right to make it.
ALTER TABLE invitations ADD COLUMN invited_by TEXT NOT NULL DEFAULT '';
